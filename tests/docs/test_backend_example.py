"""docs/backend.md says what happens, and all settings."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.client import BackendSettings

TEXT = (Path(__file__).parents[2] / "docs" / "backend.md").read_text()
PROGRAM, PRINTED = re.findall(r"^```(?:python|text)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
ROWS = {
    name: [cell.strip(" `") for cell in rest.split("|")]
    for name, rest in re.findall(r"^\| `(sandbox_\w+)` \|(.*)\|$", TEXT, re.MULTILINE)
}


@pytest.mark.parametrize("mode", ["local", "provisioner"])
def test_the_first_program_runs_in_every_mode_by_two_settings(mode, new_server, tmp_path):
    environment = os.environ | {"SANDBOX_MODE": mode, "PROVISIONER_HOME": str(tmp_path)}
    if mode == "provisioner":
        environment["SANDBOX_PROVISIONER_URL"] = new_server().url
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == PRINTED


def test_every_setting_is_documented_with_its_default():
    assert list(ROWS) == list(BackendSettings.model_fields)
    defaults = {name: field.default for name, field in BackendSettings.model_fields.items()}
    for name, (_, default, reason) in ROWS.items():
        value = defaults[name]
        value = value.get_secret_value() if hasattr(value, "get_secret_value") else value
        written = "empty" if value == "" else str(value)
        assert default == (written.lower() if isinstance(value, bool) else written)
        assert len(reason) > 25
