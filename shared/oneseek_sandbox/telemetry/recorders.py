"""`TraceRecorder`: the spans for a user interface or LangSmith, without OpenTelemetry's SDK."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Attribute",
    "Kind",
    "SpanRecord",
    "TraceRecorder",
    "add_recorder",
    "recorders",
    "remove_recorder",
]

log = logging.getLogger(__name__)

Attribute = str | bool | int | float
Kind = Literal["client", "server", "internal"]


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A span as it is at its start or at its end; `docs/telemetry.md` lists names and attributes.

    Attributes:
        trace_id: 32 hexadecimal digits, the same as in OpenTelemetry, log lines and error bodies.
        span_id: 16 hexadecimal digits.
        parent_id: Of the span that this one is a part of, maybe in another process; or None.
        started_ns: Nanoseconds since 1970, UTC; `ended_ns` is None at the start.
        status: `unset` until the end.
        error: The error's code; empty without one.
    """

    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: Mapping[str, Attribute]
    started_ns: int
    ended_ns: int | None
    status: Literal["unset", "ok", "error"]
    error: str


class TraceRecorder(Protocol):
    """Hears of every span of this process, on the thread that works: it must be quick.

    What it raises is logged and does not reach the call.
    """

    def on_start(self, span: SpanRecord) -> None:
        """Hear that something begins."""
        ...

    def on_end(self, span: SpanRecord) -> None:
        """Hear how it ended."""
        ...


_recorders: tuple[TraceRecorder, ...] = ()


def add_recorder(recorder: TraceRecorder) -> None:
    """Let it hear of every span that starts from now on."""
    global _recorders
    _recorders = (*_recorders, recorder)


def remove_recorder(recorder: TraceRecorder) -> None:
    """Let it hear no more; nothing when it was not added."""
    global _recorders
    _recorders = tuple(known for known in _recorders if known is not recorder)


def recorders() -> tuple[TraceRecorder, ...]:
    """Return those who hear of spans now."""
    return _recorders
