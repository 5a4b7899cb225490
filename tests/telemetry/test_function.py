"""A function is set up by the `OTEL_*` variables of its container."""

from __future__ import annotations

import secrets

import httpx
import pytest
from tests.functions.conftest import FunctionProcess
from tests.telemetry.collector import until

from oneseek_sandbox.leases.embedded import EmbeddedServer

KEY = "key-of-the-function-under-test"


@pytest.fixture
def function(collector, tmp_path, monkeypatch):
    for name, value in collector.variables.items():
        monkeypatch.setenv(name, value)
    function = FunctionProcess("ls", tmp_path, KEY)
    try:
        function.wait()
        yield function
    finally:
        function.process.terminate()
        function.process.wait(30)
        EmbeddedServer.stop(tmp_path)


async def test_a_function_exports_its_spans_under_its_own_name(function, collector):
    headers = {"authorization": f"Bearer {KEY}", "traceparent": f"00-{'12' * 16}-{'34' * 8}-01"}
    async with httpx.AsyncClient(base_url=function.url, headers=headers, trust_env=False) as client:
        refused = await client.post("/", json={"thread_id": "nobody"})
        figures = await client.get("/metrics")
    assert refused.json()["error"]["trace_id"] == "12" * 16
    ours = until(lambda: [s for s in collector.spans() if s.trace_id == "12" * 16], "its span")
    (span,) = ours
    assert (span.service, span.name, span.parent_id) == (
        "oneseek-sandbox-ls",
        "function.ls",
        "34" * 8,
    )
    assert span.error == "lease_not_found"
    assert 'verb="ls",outcome="lease_not_found"} 1' in figures.text


@pytest.mark.finding(19)
async def test_a_function_that_is_stopped_exports_the_spans_of_its_last_second(
    collector, tmp_path, monkeypatch
):
    """The export's own interval is longer than the test: only an orderly end sends them."""
    variables = {**collector.variables, "OTEL_BSP_SCHEDULE_DELAY": "600000"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    trace_id = secrets.token_hex(16)
    function = FunctionProcess("ls", tmp_path, KEY)
    try:
        function.wait()
        headers = {"authorization": f"Bearer {KEY}", "traceparent": f"00-{trace_id}-{'34' * 8}-01"}
        async with httpx.AsyncClient(
            base_url=function.url, headers=headers, trust_env=False
        ) as client:
            await client.post("/", json={"thread_id": "nobody"})
        assert not [span for span in collector.spans() if span.trace_id == trace_id]
        function.process.terminate()
        assert function.process.wait(30) == 0
        assert [span.name for span in collector.spans() if span.trace_id == trace_id] == [
            "function.ls"
        ]
    finally:
        function.process.kill()
        function.process.wait(30)
        EmbeddedServer.stop(tmp_path)
