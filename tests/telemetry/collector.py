"""A collector of OpenTelemetry in the test's own process: keeps what it is sent by OTLP over HTTP."""

from __future__ import annotations

import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
)
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

PATIENCE_SECONDS = 60


@dataclass(frozen=True)
class Seen:
    """A span, from whatever process it came."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str | None
    attributes: dict[str, Any]
    error: str

    @classmethod
    def of_sdk(cls, span):
        return cls(
            "backend",
            span.name,
            span.kind.name.lower(),
            f"{span.context.trace_id:032x}",
            f"{span.context.span_id:016x}",
            f"{span.parent.span_id:016x}" if span.parent else None,
            dict(span.attributes),
            span.status.description or "",
        )

    @classmethod
    def of_wire(cls, service, span):
        return cls(
            service,
            span.name,
            {1: "internal", 2: "server", 3: "client"}[span.kind],
            span.trace_id.hex(),
            span.span_id.hex(),
            span.parent_span_id.hex() or None,
            {item.key: _value(item.value) for item in span.attributes},
            span.status.message,
        )


def _value(value):
    return getattr(value, value.WhichOneof("value"))


class Collector:
    """Listens on a port of the loopback address."""

    def __init__(self):
        self.received: list[tuple[str, bytes]] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                collector.received.append((self.path, body))
                self.send_response(200)
                self.send_header("content-type", "application/x-protobuf")
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self):
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def variables(self):
        """What a server needs to export here, soon."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": self.url,
            "OTEL_BSP_SCHEDULE_DELAY": "20",
            "OTEL_METRIC_EXPORT_INTERVAL": "100",
        }

    def spans(self):
        found = []
        for path, body in list(self.received):
            if path == "/v1/traces":
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    named = {a.key: _value(a.value) for a in resource.resource.attributes}
                    for scope in resource.scope_spans:
                        found += [Seen.of_wire(named["service.name"], s) for s in scope.spans]
        return found

    def metrics(self):
        """The last value of each metric, by its name and its attributes."""
        found = {}
        for path, body in list(self.received):
            if path != "/v1/metrics":
                continue
            for resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for scope in resource.scope_metrics:
                    for metric in scope.metrics:
                        for point in getattr(metric, metric.WhichOneof("data")).data_points:
                            labels = frozenset((a.key, _value(a.value)) for a in point.attributes)
                            found[metric.name, labels] = point
        return found


def until(find, what):
    """Return what `find` finds, as soon as it does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := find()):
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
    return found
