"""`tools` and `mcp` on the command line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest

from oneseek_sandbox.agent_tools import READ_ONLY_TOOLS, TOOLS, function_schemas

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
    assert {tool["name"] for tool in printed} == TOOLS.keys() - {"sandbox_wait"}
    assert printed == [schema["function"] for schema in function_schemas()]


def test_tools_can_be_chosen():
    chosen = run("tools", "--tool", "sandbox_release", "--tool", "sandbox_ls")
    assert json.loads(chosen.stdout) == function_schemas(["sandbox_ls", "sandbox_release"])
    assert json.loads(run("tools", "--read-only").stdout) == function_schemas(READ_ONLY_TOOLS)


def test_those_of_a_server_that_yields_are_printed_when_asked_for():
    printed = json.loads(run("tools", "--yielding").stdout)
    assert printed == function_schemas(yielding=True)
    assert [schema["function"]["name"] for schema in printed] == list(TOOLS)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("tools", "--tool", "sandbox_wait", "--tool", "sandbox_execute"), "set yield_seconds"),
        (("tools", "--yielding", "--tool", "sandbox_wait"), "name sandbox_execute too"),
        (("mcp", "--tool", "sandbox_wait"), "name sandbox_execute too"),
        (("mcp", "--yield-seconds", "-1"), "--yield-seconds"),
        (("mcp", "--yield-seconds", "nan"), "--yield-seconds"),
    ],
)
def test_waiting_for_nothing_is_refused(options, told):
    ran = run(*options)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert told in " ".join(re.sub("[│╭╰─╮╯]", " ", ran.stderr).split())


@pytest.mark.parametrize("verb", ["tools", "mcp"])
@pytest.mark.parametrize(
    "options", [("--tool", "sandbox_rm"), ("--read-only", "--tool", "sandbox_ls")]
)
def test_a_choice_that_cannot_be_is_refused(verb, options):
    ran = run(verb, *options)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert "sandbox_rm" in ran.stderr or "either --tool or --read-only" in ran.stderr


def test_strict_is_openais_word():
    ran = run("tools", "--format", "json", "--strict")
    assert (ran.returncode, ran.stdout) == (2, "")


def test_without_the_extra_mcp_says_what_to_install_and_tools_work():
    program = ("-c", WITHOUT_EXTRAS)
    ran = run("mcp", program=program)
    assert (ran.returncode, ran.stdout, ran.stderr.count("\n")) == (1, "", 1)
    assert "pip install 'oneseek-sandbox[mcp]'" in ran.stderr
    assert run("tools", program=program).returncode == 0
