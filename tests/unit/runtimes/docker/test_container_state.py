"""What a container's state means, in words."""

from __future__ import annotations

import pytest

from oneseek_sandbox.errors import CapacityError, SandboxStartError
from oneseek_sandbox.runtimes.docker.container_state import (
    address_of,
    is_running,
    reason,
    start_refusal,
)
from oneseek_sandbox.runtimes.docker.engine import EngineRefusalError
from oneseek_sandbox.settings import Settings

SETTINGS = Settings(memory_limit_mb=256, sandbox_image="a-image")


@pytest.mark.parametrize(
    ("container", "running"),
    [
        (None, False),
        ({"State": "running"}, True),
        ({"State": "paused"}, True),
        ({"State": "exited"}, False),
        ({"State": {"Status": "running"}}, True),
        ({"State": {"Status": "created"}}, False),
    ],
)
def test_a_container_is_read_as_listed_and_as_inspected(container, running):
    assert is_running(container) is running


def test_an_address_is_the_published_port():
    ports = [{"PrivatePort": 8787, "Type": "tcp"}, {"IP": "127.0.0.1", "PublicPort": 32768}]
    assert address_of({"Ports": ports}) == "tcp:127.0.0.1:32768"
    assert address_of({"Ports": None}) == address_of(None) == ""


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ({"Status": "running"}, ""),
        ({"Status": "exited", "OOMKilled": True, "ExitCode": 137}, "limit of 256 MB"),
        ({"Status": "exited", "ExitCode": 3}, "code 3. Last words: a line."),
        ({"Status": "created", "ExitCode": 0}, "not started"),
        (
            {"Status": "created", "Error": 'exec: "python3": executable file not found in $PATH'},
            "'a-image' has no python3",
        ),
    ],
)
def test_why_a_container_does_not_run(state, told):
    found = reason({"State": state}, "a line", SETTINGS)
    assert told in found
    assert bool(told) == bool(found)


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("write /x: no space left on device", CapacityError),
        ("all predefined address pools have been fully subnetted", CapacityError),
        ("OCI runtime create failed", SandboxStartError),
    ],
)
def test_what_passes_when_others_end_is_a_matter_of_room(message, kind):
    assert isinstance(start_refusal(EngineRefusalError(500, message), SETTINGS), kind)
