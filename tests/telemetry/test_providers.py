"""Which providers a server's process gets: as the `OTEL_*` variables say, and never over another."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

PROGRAM = """
import json, sys
from oneseek_sandbox.telemetry.providers import set_up
if sys.argv[2:]:
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    theirs = TracerProvider(shutdown_on_exit=False)
    trace.set_tracer_provider(theirs)
set_up("a-function", dict(pair.split("=", 1) for pair in json.loads(sys.argv[1])))
if "opentelemetry.trace" not in sys.modules:
    print("nothing")
    sys.exit()
from opentelemetry import trace
provider = trace.get_tracer_provider()
if isinstance(provider, trace.ProxyTracerProvider):
    print("none")
    sys.exit()
if sys.argv[2:]:
    print("theirs" if provider is theirs else "ours")
    sys.exit()
processors = provider._active_span_processor._span_processors
print(provider.resource.attributes["service.name"])
print([type(p.span_exporter).__module__ for p in processors])
"""


@pytest.fixture
def seen(monkeypatch):
    for name in ("OTEL_SERVICE_NAME", "OTEL_RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(name, raising=False)

    def seen(*variables, given=False, **environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, json.dumps(variables), *["given"] * given],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines(), done.stderr

    return seen


@pytest.mark.parametrize(
    "variables",
    [
        [],
        ["OTEL_TRACES_EXPORTER=none"],
        ["OTEL_EXPORTER_OTLP_ENDPOINT="],
        ["OTEL_TRACES_EXPORTER=console", "OTEL_SDK_DISABLED=true"],
        ["OTEL_TRACES_EXPORTER=console", "OTEL_SDK_DISABLED=TRUE"],
    ],
)
def test_without_an_exporter_nothing_is_loaded(seen, variables):
    assert seen(*variables)[0] == ["nothing"]


def test_an_endpoint_is_enough_for_otlp(seen):
    variables = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://127.0.0.1:9/v1/traces"]
    otlp = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    assert seen(*variables)[0] == ["a-function", f"['{otlp}']"]


def test_exporters_may_be_several_and_the_services_name_is_the_operators(seen):
    out, _ = seen(
        "OTEL_TRACES_EXPORTER=otlp, console", "OTEL_SERVICE_NAME=mine", OTEL_SERVICE_NAME="mine"
    )
    assert out[0] == "mine"
    assert "proto.http" in out[1]
    assert "opentelemetry.sdk.trace.export" in out[1]


def test_a_provider_that_is_set_stays(seen):
    out, log = seen("OTEL_TRACES_EXPORTER=console", given=True)
    assert out == ["theirs"]
    assert log == ""  # the SDK refuses to replace one too, and complains


def test_an_exporter_that_is_not_installed_is_a_warning_and_no_failure(seen):
    out, log = seen("OTEL_TRACES_EXPORTER=nowhere")
    assert out == ["none"]
    assert "oneseek-sandbox[telemetry]" in log
    assert "nowhere" in log
