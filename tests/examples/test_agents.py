"""Each adapter's first agent does its work, in every mode of a backend."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.testing.scripted_model import GREEN

FOLDER = Path(__file__).parents[2] / "examples"
EXAMPLES = [FOLDER / f"agent_{name}.py" for name in ("plain", "langchain", "mcp")]


@pytest.mark.parametrize("mode", ["local", "provisioner"])
@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_an_agent_makes_its_tests_green(program, mode, new_server, tmp_path):
    environment = os.environ | {
        "SANDBOX_MODE": mode,
        "PROVISIONER_HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    }
    if mode == "provisioner":
        environment["SANDBOX_PROVISIONER_URL"] = new_server().url
    done = subprocess.run(
        [sys.executable, program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{GREEN}\n"


@pytest.mark.parametrize("program", EXAMPLES, ids=lambda path: path.stem)
def test_a_first_agent_is_short(program):
    body = program.read_text().partition("async def main")[2].rpartition("asyncio.run")[0]
    assert len([line for line in body.splitlines() if line.strip()]) <= 20
