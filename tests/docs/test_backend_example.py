"""docs/backend.md says what happens, and all settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from oneseek_sandbox.client import BackendSettings

TEXT = (Path(__file__).parents[2] / "docs" / "backend.md").read_text()
TERMINAL = next(
    block
    for block in re.findall(r"^  ```python\n(.*?)^  ```$", TEXT, re.MULTILINE | re.DOTALL)
    if "terminal=" in block
)
WITH_A_SANDBOX = """
import asyncio, base64
from oneseek_sandbox.client import BackendSettings, ThreadSandbox, connect
from oneseek_sandbox.models import OutputEvent

async def main():
    async with connect(BackendSettings.from_environment()) as sandboxes:
        sandbox = ThreadSandbox(sandboxes, "terminal")
        try:
{block}
        finally:
            await sandbox.release()

asyncio.run(main())
"""
PROGRAM, PRINTED = re.findall(r"^```(?:python|text)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROWS = {
    name: [cell.strip(" `") for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| `(sandbox_\w+)` \|(.*)\|$", TEXT, re.MULTILINE)
}


def run(program, **settings):
    """Run it with these settings; returns what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("mode", ["local", "provisioner"])
def test_the_first_program_runs_in_every_mode_by_two_settings(mode, new_server, tmp_path):
    settings = {"SANDBOX_MODE": mode, "PROVISIONER_HOME": str(tmp_path)}
    if mode == "provisioner":
        settings["SANDBOX_PROVISIONER_URL"] = new_server().url
    assert run(PROGRAM, **settings) == PRINTED


def test_the_terminal_is_typed_into_resized_and_interrupted(tmp_path):
    block = textwrap.indent(textwrap.dedent(TERMINAL), " " * 12)
    program = WITH_A_SANDBOX.replace("{block}", block)
    assert run(program, SANDBOX_MODE="local", PROVISIONER_HOME=str(tmp_path)) == "5 True\n"


def test_every_setting_is_documented_with_its_default():
    assert list(ROWS) == list(BackendSettings.model_fields)
    defaults = {name: field.default for name, field in BackendSettings.model_fields.items()}
    for name, (_, default, reason) in ROWS.items():
        value = defaults[name]
        value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        written = "empty" if value == "" else str(value)
        assert default == (written.lower() if isinstance(value, bool) else written)
        assert len(reason) > 25
