"""Calls about managed processes."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

from tests.guest.client import (
    Client,
    Refused,
    execute_fields,
)

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["attach", "describe", "give", "read_to_end", "refused_with", "start", "text"]


def start(client: Client, command: str | list[str], request_id: str, **fields: Any) -> Any:
    """Start a process in the background, without a limit unless `timeout_ms` says one."""
    wanted = {"timeout_ms": None, "background": True, "request_id": request_id, **fields}
    return client.call("/execute", **execute_fields(command, **wanted))


def attach(client: Client, request_id: str, offset: int | None = 0, **fields: Any) -> Any:
    wanted = {"offset": offset, "wait_ms": 30_000, "max_bytes": 100_000, **fields}
    return client.call("/attach", request_id=request_id, **wanted)


def describe(client: Client, request_id: str) -> Any:
    (process,) = client.call("/processes", request_id=request_id, limit=10)["processes"]
    return process


def read_to_end(client: Client, request_id: str, **fields: Any) -> tuple[list[Any], Any]:
    """Return all events until the process has ended, and what is said of it then."""
    events: list[Any] = []
    offset = 0
    while True:
        answer = attach(client, request_id, offset, **fields)
        events += answer["events"]
        offset = answer["next_offset"]
        process = answer["process"]
        if process["state"] != "running" and offset == process["log"]["next_offset"]:
            return events, process


def text(events: list[Any], *names: str) -> bytes:
    """Return the output in events, of the named streams or of both."""
    wanted = names or ("stdout", "stderr")
    return b"".join(
        base64.b64decode(data) for event in events for name, data in event.items() if name in wanted
    )


def give(client: Client, request_id: str, data: bytes, offset: int, **fields: Any) -> Any:
    encoded = base64.b64encode(data).decode()
    return client.call("/input", request_id=request_id, data=encoded, offset=offset, **fields)


def refused_with(call: Callable[[], object], code: str) -> bool:
    try:
        call()
    except Refused as refused:
        return refused.code == code
    return False
