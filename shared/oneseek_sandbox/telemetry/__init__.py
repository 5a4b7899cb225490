"""Telemetry of calls: spans for OpenTelemetry and recorders, and metrics."""

from __future__ import annotations

from oneseek_sandbox.telemetry.recorders import (
    SpanRecord,
    TraceRecorder,
    add_recorder,
    remove_recorder,
)

__all__ = ["SpanRecord", "TraceRecorder", "add_recorder", "remove_recorder"]
