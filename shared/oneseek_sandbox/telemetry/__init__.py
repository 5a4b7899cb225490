"""What is told of calls: spans to OpenTelemetry and to recorders, figures to whoever reads them."""

from __future__ import annotations

from oneseek_sandbox.telemetry.recorders import (
    SpanRecord,
    TraceRecorder,
    add_recorder,
    remove_recorder,
)

__all__ = ["SpanRecord", "TraceRecorder", "add_recorder", "remove_recorder"]
