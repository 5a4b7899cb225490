"""`tools` and `mcp` on the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

from oneseek_sandbox.agent_tools import TOOLS, function_schemas

WITHOUT_EXTRAS = """
import sys
sys.modules["mcp"] = sys.modules["mcp_types"] = None
from oneseek_sandbox.cli import main
main()
"""


def run(*arguments, program=("-m", "oneseek_sandbox.cli")):
    return subprocess.run(
        [sys.executable, *program, *arguments],
        env=os.environ | {"COLUMNS": "80"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_the_schemas_that_are_printed_are_those_of_the_tools():
    assert json.loads(run("tools").stdout) == function_schemas()
    assert json.loads(run("tools", "--format", "openai").stdout) == function_schemas()
    assert json.loads(run("tools", "--strict").stdout) == function_schemas(strict=True)


def test_they_are_printed_without_openais_wrapping_too():
    printed = json.loads(run("tools", "--format", "json").stdout)
    assert [tool["name"] for tool in printed] == list(TOOLS)
    assert printed == [schema["function"] for schema in function_schemas()]


def test_strict_is_openais_word():
    ran = run("tools", "--format", "json", "--strict")
    assert (ran.returncode, ran.stdout) == (2, "")


def test_without_the_extra_mcp_says_what_to_install_and_tools_work():
    program = ("-c", WITHOUT_EXTRAS)
    ran = run("mcp", program=program)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'oneseek-sandbox[mcp]'" in ran.stderr
    assert run("tools", program=program).returncode == 0
