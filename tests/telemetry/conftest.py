"""A backend with OpenTelemetry's SDK: this process. A server that exports to a collector here."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.telemetry.collector import Collector, Seen

from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.testing.server import live_servers

KEY = "key-of-the-telemetrys-tests"


@pytest.fixture(scope="session")
def exporter():
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def spans(exporter):
    """The ended spans of this process, of this test."""
    exporter.clear()
    return lambda: [Seen.of_sdk(span) for span in exporter.get_finished_spans()]


@pytest.fixture(scope="session")
def collector():
    collector = Collector()
    yield collector
    collector.close()


@pytest.fixture(scope="session")
def exporting_server(collector, tmp_path_factory):
    """Return a function that starts a server; all end before their collector does."""
    yield from live_servers(tmp_path_factory.mktemp("exporting servers"))


@pytest.fixture(scope="session")
def server(exporting_server, collector):
    return exporting_server(key=KEY, settings=collector.variables)


@pytest.fixture
async def remote(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        yield sandboxes
