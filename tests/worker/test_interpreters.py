"""The worker on every interpreter of this machine that it promises to run on."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest
from tests.worker.client import parse_exit, read_response, wait_until, worker_process

from oneseek_sandbox.guest.bundle import bundle

VERSIONS = [f"3.{minor}" for minor in range(9, 15)]


def version_of(program: str) -> str | None:
    """Return the version a program runs, None when it does not run (a shim of a version manager)."""
    code = "import sys; print('%d.%d' % sys.version_info[:2])"
    with contextlib.suppress(OSError, subprocess.CalledProcessError):
        command = [program, "-I", "-c", code]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    return None


def candidates() -> list[str]:
    """Return the programs that may be an interpreter, by PATH and by pyenv when there is one."""
    names = ["python3", *(f"python{version}" for version in VERSIONS)]
    found = [path for name in names if (path := shutil.which(name))]
    if shutil.which("pyenv"):
        root = subprocess.run(["pyenv", "root"], capture_output=True, text=True, check=False)
        versions = Path(root.stdout.strip()) / "versions"
        found += [str(path / "bin/python3") for path in sorted(versions.glob("3.*"))]
    return found


def interpreters() -> dict[str, str]:
    """Return one program per version that is here and promised."""
    versions = {version_of(program): program for program in candidates()}
    return {version: versions[version] for version in VERSIONS if version in versions}


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters().keys())
def test_everything_works_on(python: str) -> None:
    with worker_process(python=python) as worker:
        client = worker.client()
        home = worker.workspace
        boot_id = client.claim()["boot_id"]
        assert client.prove()["right"] is True
        assert client.claim()["boot_id"] == boot_id
        answer = client.execute("cat; echo err >&2; exit 3", stdin="ä", env={"A": "ä"})
        assert (answer["exit_code"], answer["stdout"], answer["stderr"]) == (
            3,
            "ä".encode(),
            b"err\n",
        )
        client.write(f"{home}/a/file", b"one\ntwo\n")
        assert client.call("/replace", path=f"{home}/a/file", old="two", new="2")["size"] == 6
        client.write(f"{home}/a/file", b"3\n", append=True)
        assert client.read(f"{home}/a/file", start_line=2)[1] == b"2\n3\n"
        assert len(client.call("/ls", path=str(home), depth=2)["entries"]) == 2
        assert client.execute("setsid sleep 99 & sleep 99", timeout_ms=300)["timed_out"] is True
        sock = client.start("echo out; sleep 99", request_id="r", stream=True)
        wait_until(lambda: client.call("/health", "GET")["processes"] > 0)
        assert client.call("/cancel", request_id="r") == {"cancelled": True}
        assert parse_exit(read_response(sock))["killed_by"] == "cancelled"
        assert client.execute("kill -9 $PPID; sleep 9")["killed_by"] == "monitor_killed"
        assert client.execute("echo " + "x" * 200_000)["stdout_bytes"] == 200_001


@pytest.mark.parametrize("python", interpreters().values(), ids=interpreters().keys())
def test_the_source_compiles_without_a_warning_on(python: str) -> None:
    command = [
        python,
        "-I",
        "-W",
        "error",
        "-c",
        "import sys; compile(sys.stdin.buffer.read(), 'w', 'exec')",
    ]
    subprocess.run(command, input=bundle("worker"), check=True)
