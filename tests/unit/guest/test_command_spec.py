"""What an execute request may ask for together."""

from __future__ import annotations

from typing import Any

import pytest

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.command_spec import CommandSpec
from oneseek_sandbox.guest.worker.fields import Fields

LEAST = {"command": "cat", "timeout_ms": 5, "max_output_bytes": 5}


def spec(live: str | None = None, **fields: Any) -> CommandSpec:
    return CommandSpec(Fields({**LEAST, **fields}), live)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"background": True}, "background process needs a request_id"),
        ({"stdin_open": True}, "stdin_open needs a request_id"),
        ({"timeout_ms": None}, "timeout_ms must be given"),
        ({"stdin": "", "stdin_path": "/workspace/f"}, "one of stdin, stdin_path and stdin_open"),
        ({"stdin": "", "stdin_open": True, "request_id": "a"}, "one of stdin"),
        ({"stdin": "eA==", "stdin_encoding": "hex"}, "must be utf-8 or base64"),
        ({"stdin": "eA", "stdin_encoding": "base64"}, "not valid base64"),
        ({"live": "²"}, "x-live-bytes must be a number"),
        ({"live": "9" * 19}, "x-live-bytes must be a number"),
    ],
)
def test_what_does_not_go_together_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(WorkerError, match=told) as refused:
        spec(**fields)
    assert refused.value.code == "invalid_request"


def test_input_is_bytes_whatever_its_encoding() -> None:
    assert spec(stdin="ü").stdin == spec(stdin="w7w=", stdin_encoding="base64").stdin == b"\xc3\xbc"
    assert spec().stdin is None


def test_each_kind_of_input_makes_another_request_of_the_same_id() -> None:
    name = {"request_id": "a"}
    kinds = [{}, {"stdin": ""}, {"stdin_path": "/workspace/f"}, {"stdin_open": True}]
    assert len({spec(**name, **kind).fingerprint() for kind in kinds}) == len(kinds)
    assert spec(**name, log_bytes=9).fingerprint() == spec(**name).fingerprint()
