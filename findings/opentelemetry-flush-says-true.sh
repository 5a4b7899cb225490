#!/bin/bash
# OpenTelemetry's force_flush(500) takes seven seconds, delivers nothing, and returns True.
#
# One would expect:  force_flush(timeout_millis=500) returns after half a second at the latest,
#   and True means that what was queued has been exported; the interface says so.
# What happens:  the timeout is not used at all: the call lasts as long as the exporter retries
#   (about seven seconds against a collector that answers 503), and the answer is True although
#   every span was dropped. A collector that asks for patience, 429 with "Retry-After: 30", gets no
#   second try: dropped at once, True again.
# Versions:  opentelemetry-sdk 1.45.2, opentelemetry-exporter-otlp-proto-http 1.45.2.
# Matters to:  short-lived processes (functions, sandboxes, jobs) that flush before they end: the
#   flush may outlast the grace period, and its answer proves nothing. Count at the collector, and
#   give the exporter itself a timeout (the seconds of OTEL_EXPORTER_OTLP_TIMEOUT).
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --no-compile \
  opentelemetry-sdk==1.45.2 opentelemetry-exporter-otlp-proto-http==1.45.2
cd "$work"

cat >see.py <<'EOF'
import importlib.metadata
import logging
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

logging.disable()


def see(status, headers):
    """Flush one span to a collector that always answers so: returned, seconds, requests."""
    requests = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self):
            requests.append(self.path)
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    exporter = OTLPSpanExporter(endpoint=f"http://127.0.0.1:{server.server_port}/v1/traces")
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    with provider.get_tracer("see").start_as_current_span("work"):
        pass
    begin = time.monotonic()
    returned = provider.force_flush(timeout_millis=500)
    took = time.monotonic() - begin
    provider.shutdown()
    server.shutdown()
    print(f"{status} {headers or ''}: returned {returned} after {took:.1f} s, {len(requests)} requests")
    return returned, took, len(requests)


print("opentelemetry-sdk", importlib.metadata.version("opentelemetry-sdk"))
busy = see(503, {})
patience = see(429, {"Retry-After": "30"})
if not (busy[0] is True and busy[1] > 2 and busy[2] > 1 and patience[0] is True and patience[2] == 1):
    sys.exit("not seen: the behaviour has changed")
EOF
"$work/venv/bin/python" see.py
