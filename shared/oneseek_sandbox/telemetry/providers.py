"""OpenTelemetry's providers for a process of ours, as the standard `OTEL_*` variables say.

Only a server's own process is set up; a backend belongs to somebody else, who has done it or not.
"""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["set_up"]

log = logging.getLogger(__name__)

_TRUE: Final = "true"
_NONE: Final = "none"
_OTLP: Final = "otlp"
# A function is stopped between two batches at any time; what it loses is of its last second.
_EXPORT_MS: Final = 1000.0


def set_up(service: str, environment: Mapping[str, str] | None = None) -> None:
    """Set providers for the exporters that the environment names; without one, load nothing.

    A provider that somebody has set stays.

    Args:
        service: The name of the service, unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES has
            one.
    """
    variables = os.environ if environment is None else environment  # noqa: TID251 - not ours
    if variables.get("OTEL_SDK_DISABLED", "").strip().lower() == _TRUE:
        return
    wanted = {signal: _exporters(variables, signal) for signal in ("TRACES", "METRICS")}
    if not any(wanted.values()):
        return
    try:
        resource = _resource(service, variables)
        if wanted["TRACES"]:
            _set_tracer_provider(resource, wanted["TRACES"], variables)
        if wanted["METRICS"]:
            _set_meter_provider(resource, wanted["METRICS"], variables)
    except ImportError as error:
        log.warning(
            "OTEL_* variables ask for telemetry, and what sends it is not installed (%s). Install "
            "oneseek-sandbox[telemetry].",
            error,
        )


def _exporters(variables: Mapping[str, str], signal: str) -> list[str]:
    """Return the names of a signal's exporters; OTLP when only an endpoint is named."""
    names = variables.get(f"OTEL_{signal}_EXPORTER", "").strip()
    if not names:
        endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT")
        names = _OTLP if any(variables.get(name) for name in endpoints) else ""
    return [name.strip() for name in names.split(",") if name.strip() not in {"", _NONE}]


def _resource(service: str, variables: Mapping[str, str]) -> Any:  # noqa: ANN401
    from opentelemetry.sdk.resources import Resource

    is_named = variables.get("OTEL_SERVICE_NAME") or "service.name=" in variables.get(
        "OTEL_RESOURCE_ATTRIBUTES", ""
    )
    return Resource.create({} if is_named else {"service.name": service})


def _set_tracer_provider(resource: Any, names: list[str], variables: Mapping[str, str]) -> None:  # noqa: ANN401
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    if not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    provider = TracerProvider(resource=resource)
    delay = None if variables.get("OTEL_BSP_SCHEDULE_DELAY") else _EXPORT_MS
    for name in names:
        exporter = _exporter("traces", name, variables)
        provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=delay))
    trace.set_tracer_provider(provider)


def _set_meter_provider(resource: Any, names: list[str], variables: Mapping[str, str]) -> None:  # noqa: ANN401
    from opentelemetry import metrics
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    if isinstance(metrics.get_meter_provider(), MeterProvider):
        return
    readers = [
        PeriodicExportingMetricReader(_exporter("metrics", name, variables)) for name in names
    ]
    metrics.set_meter_provider(MeterProvider(readers, resource))


def _exporter(signal: str, name: str, variables: Mapping[str, str]) -> Any:  # noqa: ANN401
    """Return an exporter by the name that the specification, or a package installed here, gives it.

    Raises:
        ImportError: There is none of that name.
    """
    if name == _OTLP:
        own = variables.get(f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL")
        protocol = own or variables.get("OTEL_EXPORTER_OTLP_PROTOCOL") or "http/protobuf"
        name = {"grpc": "otlp_proto_grpc"}.get(protocol, "otlp_proto_http")
    from importlib.metadata import entry_points

    for found in entry_points(group=f"opentelemetry_{signal}_exporter", name=name):
        return found.load()()
    raise ImportError(f"there is no exporter {name!r} of {signal}")
