"""The trace id that ties an answer, its log lines and its errors together (W3C traceparent)."""

from __future__ import annotations

import re
import secrets
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "current_trace_id",
    "current_traceparent",
    "parse_traceparent",
    "start_trace",
    "within_trace",
]

_TRACEPARENT: Final = re.compile(
    r"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})?"
)
_trace_id: ContextVar[str] = ContextVar("trace_id", default="")


def start_trace(traceparent: str | None) -> str:
    """Take the caller's trace id, or make one, for everything this task does from here on."""
    given = parse_traceparent(traceparent)
    trace_id = given[0] if given else secrets.token_hex(16)
    _trace_id.set(trace_id)
    return trace_id


def parse_traceparent(traceparent: str | None) -> tuple[str, str, int] | None:
    """Return the trace id, the caller's span id and the flags; None when it is no traceparent."""
    match = _TRACEPARENT.match(traceparent or "")
    return (match[1], match[2], int(match[3] or "01", 16)) if match else None


@contextmanager
def within_trace(trace_id: str) -> Iterator[None]:
    """Make it this task's trace for a while."""
    token = _trace_id.set(trace_id)
    try:
        yield
    finally:
        _trace_id.reset(token)


def current_trace_id() -> str:
    """Return the trace id of this task; empty outside of a call."""
    return _trace_id.get()


def current_traceparent() -> str:
    """Return the header that carries this task's trace on; empty outside of a call."""
    trace_id = current_trace_id()
    return f"00-{trace_id}-{secrets.token_hex(8)}-01" if trace_id else ""
