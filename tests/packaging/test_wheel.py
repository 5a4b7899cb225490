"""The wheel, installed alone into an empty environment, is the whole product."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel"]
    subprocess.run([*build, "--directory", folder], cwd=ROOT, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder of the programs of an environment that holds the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("installed") / "an environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install", "--quiet"]
    pip.append("--no-compile")
    locked = ROOT / "requirements" / "run.txt"
    subprocess.run([*pip, "--no-deps", "--require-hashes", "-r", locked], check=True)
    subprocess.run([*pip, "--no-deps", "--no-index", wheel], check=True)
    return folder / "bin"


def test_the_wheel_holds_one_package_with_the_worker_and_the_scripts(wheel):
    with zipfile.ZipFile(wheel) as archive:
        names = [name for name in archive.namelist() if ".dist-info/" not in name]
    here = [
        str(path.relative_to(ROOT / "shared"))
        for path in (ROOT / "shared" / "oneseek_sandbox").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]
    assert sorted(names) == sorted(here)
    assert "oneseek_sandbox/guest/worker/main.py" in names
    assert any(name.endswith(".lua") for name in names)
    assert "oneseek_sandbox/py.typed" in names  # "Typing :: Typed" is true


def test_nothing_is_missing_from_the_locked_requirements(installed):
    check = [sys.executable, "-m", "pip", "--python", installed / "python", "check"]
    result = subprocess.run(check, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout


def test_the_installed_program_serves_sandboxes(installed, new_server, tmp_path, monkeypatch):
    # Neither the working tree nor this environment may help.
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PYTHONPATH", raising=False)
    server = new_server(command=[str(installed / "oneseek-sandbox")])
    health = subprocess.run(
        ["curl", "-sS", f"{server.url}/healthz"], capture_output=True, check=True
    ).stdout
    assert json.loads(health)["service"] == "oneseek-sandbox"
    with server.client() as client:
        acquired = client.post("/v1/sandbox/acquire", json={"thread_id": "wheel"}).json()
        assert acquired["reused"] is False
        ran = client.post(
            "/v1/sandbox/execute",
            json={"sandbox_id": acquired["sandbox_id"], "command": "echo from the wheel"},
        ).json()
        assert (ran["exit_code"], ran["stdout"]) == (0, "from the wheel\n")
    server.release_all()
    assert server.stop() == 0
