"""The main job, on real input, over HTTP."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "examples" / "agent_loop.py"


@pytest.fixture
def example():
    spec = importlib.util.spec_from_file_location("agent_loop", PROGRAM)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def archive(example, tmp_path) -> Path:
    return example.download_archive(tmp_path)


@pytest.mark.promise(1, 8)
def test_an_agent_works_on_a_real_project_through_a_killed_server(
    example, archive, new_server, capsys
):
    server = new_server(key="key-of-the-agent-loop")
    with example.Agent(server.url, server.key, "agent-loop") as agent:
        example.run(agent, archive, server.restart_after_kill)

    printed = capsys.readouterr().out
    runs = re.findall(r"python3 -m unittest -> exit code (\d+)", printed)
    assert runs == ["0", "1", "0", "0"]
    assert len(re.findall(r"Ran 119 tests", printed)) == 4
    assert "FAILED (failures=1)" in printed
    assert re.findall(r"reused: (\w+)", printed) == ["false", "true", "true"]
    with server.client() as client:
        assert client.get("/v1/sandbox").json()["sandboxes"] == []


def test_the_example_runs_as_a_program(archive, new_server):
    server = new_server()
    result = subprocess.run(
        [sys.executable, PROGRAM, "--archive", archive],
        env=os.environ | {"ONESEEK_SANDBOX_URL": server.url, "ONESEEK_SANDBOX_KEY": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert "ok: the sandbox is gone" in result.stdout
