"""The way to OpenTelemetry's API, where the process has it loaded; nothing here loads it.

Who set a provider has imported the API. Where nobody did, importing it would cost a function's
start 12 ms for spans that nobody hears of.
"""

from __future__ import annotations

import functools
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oneseek_sandbox import __version__
from oneseek_sandbox.tracing import parse_traceparent

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from opentelemetry.context import Context
    from opentelemetry.metrics import Meter
    from opentelemetry.trace import Span, Tracer, TracerProvider

    from oneseek_sandbox.telemetry.recorders import Attribute, Kind

__all__ = ["active_meter", "active_tracer", "end_span", "made_current", "span_ids", "start_span"]

_SCOPE = "oneseek_sandbox"


def active_tracer() -> Tracer | None:
    """Return the tracer of the process's provider; None while there is none."""
    if "opentelemetry.trace" not in sys.modules:
        return None
    from opentelemetry import trace

    provider = trace.get_tracer_provider()
    if isinstance(provider, trace.ProxyTracerProvider | trace.NoOpTracerProvider):
        return None
    return _tracer_of(provider)


@functools.lru_cache(maxsize=4)
def _tracer_of(provider: TracerProvider) -> Tracer:
    return provider.get_tracer(_SCOPE, __version__)


def active_meter() -> Meter | None:
    """Return a meter, whose instruments work as soon as there is a provider; None without the API."""
    if "opentelemetry.metrics" not in sys.modules:
        return None
    from opentelemetry import metrics

    return metrics.get_meter(_SCOPE, __version__)


def start_span(
    tracer: Tracer,
    name: str,
    kind: Kind,
    attributes: Mapping[str, Attribute],
    remote: str | None,
) -> tuple[Span, str | None]:
    """Start a span below the current one; returns it and its parent's span id.

    Args:
        remote: The traceparent of another process, or empty for none: what is current here is then
            the parent only if somebody else traces this server's requests.
    """
    from opentelemetry import trace

    context = None
    if remote is not None and not trace.get_current_span().get_span_context().is_valid:
        context = _remote_context(remote)
    parent = span_ids(trace.get_current_span(context))
    span = tracer.start_span(
        name, context, kind=trace.SpanKind[kind.upper()], attributes=dict(attributes)
    )
    return span, parent[1] if parent else None


def _remote_context(traceparent: str) -> Context:
    from opentelemetry.context import Context
    from opentelemetry.trace import (
        NonRecordingSpan,
        SpanContext,
        TraceFlags,
        set_span_in_context,
    )

    given = parse_traceparent(traceparent)
    if given is None:
        return Context()
    trace_id, span_id, flags = given
    caller = SpanContext(
        int(trace_id, 16), int(span_id, 16), is_remote=True, trace_flags=TraceFlags(flags)
    )
    return set_span_in_context(NonRecordingSpan(caller), Context())


def span_ids(span: Span) -> tuple[str, str, int] | None:
    """Return trace id, span id and flags; None when the provider makes no spans."""
    known = span.get_span_context()
    if not known.is_valid:
        return None
    return f"{known.trace_id:032x}", f"{known.span_id:016x}", int(known.trace_flags)


def end_span(span: Span, error: str, exception: str) -> None:
    """End a span; of what went wrong it holds the code and the type, never the words."""
    from opentelemetry.trace import Status, StatusCode

    if error:
        span.set_attribute("error.type", error)
        if exception:
            span.add_event("exception", {"exception.type": exception})
        span.set_status(Status(StatusCode.ERROR, error))
    span.end()


@contextmanager
def made_current(span: Span) -> Iterator[None]:
    """Let what starts inside be a part of it, also what others start."""
    from opentelemetry import context, trace

    token = context.attach(trace.set_span_in_context(span))
    try:
        yield
    finally:
        context.detach(token)
