"""Spans: what was done, for how long and in which trace, for OpenTelemetry and for recorders.

While nobody listens a span is one object that does nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import time
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Literal

from oneseek_sandbox.errors import InternalError, SandboxError
from oneseek_sandbox.telemetry import bridge
from oneseek_sandbox.telemetry.recorders import SpanRecord, recorders
from oneseek_sandbox.tracing import (
    current_trace_id,
    current_traceparent,
    parse_traceparent,
    within_trace,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.trace import Span as OpenTelemetrySpan

    from oneseek_sandbox.telemetry.recorders import Attribute, Kind, TraceRecorder

__all__ = ["CANCELLED", "Span", "code_of", "current_span", "start_span"]

log = logging.getLogger(__name__)

CANCELLED = "cancelled"
_SAMPLED = 1


class Span:
    """A span that nobody listens to; and what all spans can do."""

    __slots__ = ()

    @property
    def is_recording(self) -> bool:
        """Whether anybody listens."""
        return False

    @property
    def traceparent(self) -> str:
        """The W3C header that carries the trace on from here; empty when there is no trace."""
        return current_traceparent()

    def note(self, facts: Mapping[str, Attribute]) -> None:
        """Add attributes."""

    def end(self, error: str = "", exception: str = "") -> None:
        """End it, once.

        Args:
            error: The code of what went wrong.
            exception: The name of its type.
        """

    @contextmanager
    def active(self) -> Iterator[None]:
        """Let what starts inside be a part of it.

        Nothing may be yielded inside: who asks for the next value may be in another context.
        """
        yield

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End it with what is done inside, and with the error of that."""
        try:
            yield
        except BaseException as error:
            self.end(code_of(error), type(error).__name__)
            raise
        self.end()


class _RecordedSpan(Span):
    """A span that somebody hears of.

    Attributes:
        ids: Trace id, span id and flags.
        parent_id: Span id.
    """

    __slots__ = (
        "_attributes",
        "_ended",
        "_kind",
        "_name",
        "_otel",
        "_recorders",
        "_started_ns",
        "ids",
        "parent_id",
    )

    def __init__(
        self,
        name: str,
        kind: Kind,
        attributes: Mapping[str, Attribute],
        otel: OpenTelemetrySpan | None,
        heard_by: tuple[TraceRecorder, ...],
    ) -> None:
        self._name, self._kind = name, kind
        self._attributes = dict(attributes)
        self._otel, self._recorders = otel, heard_by
        self._started_ns = time.time_ns()
        self._ended = False
        self.ids = ("", "", 0)
        self.parent_id: str | None = None

    @property
    def is_recording(self) -> bool:
        return True

    @property
    def traceparent(self) -> str:
        trace_id, span_id, flags = self.ids
        return f"00-{trace_id}-{span_id}-{flags:02x}"

    def note(self, facts: Mapping[str, Attribute]) -> None:
        self._attributes.update(facts)
        if self._otel is not None:
            self._otel.set_attributes(facts)

    def end(self, error: str = "", exception: str = "") -> None:
        if self._ended:
            return
        self._ended = True
        if self._otel is not None:
            bridge.end_span(self._otel, error, exception)
        self.notify("on_end", time.time_ns(), "error" if error else "ok", error)

    @contextmanager
    def active(self) -> Iterator[None]:
        token = _current.set(self)
        try:
            with ExitStack() as stack:
                stack.enter_context(within_trace(self.ids[0]))
                if self._otel is not None:
                    stack.enter_context(bridge.made_current(self._otel))
                yield
        finally:
            _current.reset(token)

    def notify(
        self,
        hook: Literal["on_start", "on_end"],
        ended_ns: int | None = None,
        status: Literal["unset", "ok", "error"] = "unset",
        error: str = "",
    ) -> None:
        """Let the recorders hear of it."""
        if not self._recorders:
            return
        record = SpanRecord(
            self._name,
            self._kind,
            self.ids[0],
            self.ids[1],
            self.parent_id,
            dict(self._attributes),
            self._started_ns,
            ended_ns,
            status,
            error,
        )
        for recorder in self._recorders:
            try:
                getattr(recorder, hook)(record)
            except Exception:
                log.exception("A TraceRecorder failed in %s; the call goes on", hook)


_QUIET = Span()
_current: ContextVar[Span] = ContextVar("current_span", default=_QUIET)


def current_span() -> Span:
    """Return the span that what happens now is a part of."""
    return _current.get()


def start_span(
    name: str,
    kind: Kind = "internal",
    facts: Mapping[str, Attribute] | None = None,
    *,
    remote: str | None = None,
) -> Span:
    """Start a span below the current one.

    Args:
        remote: Below this traceparent of another process instead; empty for none.
    """
    tracer, heard_by = bridge.active_tracer(), recorders()
    if tracer is None and not heard_by:
        return _QUIET
    facts = facts or {}
    otel, above = None, None
    if tracer is not None:
        otel, above = bridge.start_span(tracer, name, kind, facts, remote)
    span = _RecordedSpan(name, kind, facts, otel, heard_by)
    ids = None if otel is None else bridge.span_ids(otel)
    if ids is not None:
        span.ids, span.parent_id = ids, above
    else:
        trace_id, span.parent_id, flags = _parent(remote)
        span.ids = (trace_id, secrets.token_hex(8), flags)
    span.notify("on_start")
    return span


def _parent(remote: str | None) -> tuple[str, str | None, int]:
    """Return the trace id, the parent's span id and the flags of a span of our own."""
    above = _current.get()
    if remote is not None:
        given = parse_traceparent(remote)
        return given or (secrets.token_hex(16), None, _SAMPLED)
    if isinstance(above, _RecordedSpan):
        return above.ids
    return current_trace_id() or secrets.token_hex(16), None, _SAMPLED


def code_of(error: BaseException) -> str:
    """Return the code that a span and a figure have for an error."""
    if isinstance(error, SandboxError):
        return error.code
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        return CANCELLED
    return InternalError.code
