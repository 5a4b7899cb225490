"""What the adapters assume of servers holds for those that are deployed as they come."""

from __future__ import annotations

from pathlib import Path

from oneseek_sandbox.adapters.limits import LONGEST_COMMAND_SECONDS
from oneseek_sandbox.settings import Settings

ROOT = Path(__file__).parents[2]


def test_a_command_without_a_timeout_is_taken_by_every_server_with_default_settings():
    lines = (ROOT / "knative/system/settings.env").read_text().splitlines()
    deployed = dict(line.split("=", 1) for line in lines if "=" in line)
    on_knative = float(deployed["PROVISIONER_MAX_TIMEOUT_SECONDS"])
    assert min(Settings().max_timeout_seconds, on_knative) == LONGEST_COMMAND_SECONDS
