"""Sandboxes in the backend's own process: spans without a function between, and figures."""

from __future__ import annotations

import asyncio
import re

import pytest
from opentelemetry import trace

from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.errors import SandboxReleasedError
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.telemetry.instruments import metrics_text


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    yield home
    EmbeddedServer.stop(home)


@pytest.fixture
async def sandboxes(home):
    settings = Settings(home=home, runtime="local", memory_limit_mb=256, process_limit=200)
    async with EmbeddedSandboxes(settings) as sandboxes:
        yield sandboxes
        for sandbox in (await sandboxes.list_sandboxes()).sandboxes:
            await sandboxes.release(sandbox_id=sandbox.sandbox_id)


def _figure(name, **labels):
    """Return a metric's value in this process, 0 when it has none yet."""
    wanted = {f'{key}="{value}"' for key, value in labels.items()}
    for line in metrics_text().splitlines():
        found = re.match(rf"oneseek_sandbox_{name}(?:{{(.*)}})? (\S+)$", line)
        if found and set((found[1] or "").split(",")) - {""} == wanted:
            return float(found[2])
    return 0.0


async def test_the_worker_is_right_below_the_backend(sandboxes, spans):
    acquired = await sandboxes.acquire("embedded", scope="tenant")
    await sandboxes.execute("printf 12345", sandbox_id=acquired.sandbox_id)
    by_name = {span.name: span for span in spans()}
    execute, worker = by_name["sandbox.execute"], by_name["worker.execute"]
    assert (execute.kind, worker.kind) == ("internal", "client")
    assert (worker.trace_id, worker.parent_id) == (execute.trace_id, execute.span_id)
    for span in (execute, worker):
        assert span.attributes["sandbox.thread_id"] == "embedded"
        assert span.attributes["sandbox.scope"] == "tenant"
        assert span.attributes["sandbox.generation"] == acquired.generation
        assert span.attributes["sandbox.exit_code"] == 0
        assert span.attributes["sandbox.stdout_bytes"] == 5


async def test_the_worker_is_given_the_trace_and_its_commands_are_not(
    sandboxes, spans, monkeypatch
):
    await sandboxes.acquire("traceparent")
    pool = sandboxes._provisioner._workers._pool
    sent, asked = [], pool.asked
    monkeypatch.setattr(
        pool,
        "asked",
        lambda peer, request: sent.append(dict(request.headers)) or asked(peer, request),
    )
    answer = await sandboxes.execute("env", thread_id="traceparent")
    (worker,) = [span for span in spans() if span.name == "worker.execute"]
    assert sent[0]["traceparent"].startswith(f"00-{worker.trace_id}-{worker.span_id}-")
    assert worker.trace_id not in answer.stdout
    assert "TRACEPARENT" not in answer.stdout.upper()


async def test_streams_and_files_keep_their_workers_below_them(sandboxes, spans):
    await sandboxes.acquire("streams")
    name = {"thread_id": "streams"}
    assert [event async for event in sandboxes.stream("echo 1; echo 2", **name)]
    await sandboxes.upload("/workspace/a", b"123", **name)
    async with sandboxes.download("/workspace/a", **name) as file:
        assert [chunk async for chunk in file.chunks] == [b"123"]
    by_name = {span.name: span for span in spans()}
    for verb, below in (("execute", "execute"), ("write_file", "write"), ("read_file", "read")):
        parent = by_name[f"sandbox.{verb}"]
        assert by_name[f"worker.{below}"].parent_id == parent.span_id
        assert parent.error == ""
    assert by_name["sandbox.read_file"].attributes["sandbox.file_bytes"] == 3


async def test_an_error_has_its_code_and_is_counted_by_it(sandboxes, spans):
    acquired = await sandboxes.acquire("an error")
    await sandboxes.release(sandbox_id=acquired.sandbox_id)
    code = SandboxReleasedError.code
    figure = "operation_duration_seconds_count"
    before = _figure(figure, verb="ls", outcome=code)
    with pytest.raises(SandboxReleasedError):
        await sandboxes.ls(sandbox_id=acquired.sandbox_id)
    assert spans()[-1].error == code
    assert _figure(figure, verb="ls", outcome=code) == before + 1


async def test_a_cancelled_call_is_one_by_name(sandboxes, spans):
    await sandboxes.acquire("cancelled")
    running = asyncio.create_task(
        sandboxes.execute("touch begun; sleep 600", thread_id="cancelled")
    )
    async with asyncio.timeout(60):
        while (
            b"begun" not in (await sandboxes.ls(thread_id="cancelled")).model_dump_json().encode()
        ):
            await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    ended = {span.name: span.error for span in spans()}
    assert ended["sandbox.execute"] == ended["worker.execute"] == "cancelled"


async def test_cleanups_are_no_part_of_the_trace_that_opened_the_sandboxes(tmp_path, spans):
    settings = Settings(home=tmp_path, runtime="local", cleanup_interval_seconds=1)
    try:
        with trace.get_tracer("of the backend").start_as_current_span("start of the backend"):
            sandboxes = EmbeddedSandboxes(settings)
            await sandboxes.open()
            async with asyncio.timeout(20):
                while "sandbox.cleanup_idle" not in {span.name for span in spans()}:
                    await asyncio.sleep(0.02)
            await sandboxes.close()
    finally:
        EmbeddedServer.stop(tmp_path)
    assert {span.parent_id for span in spans()} == {None}


async def test_acquires_are_counted_by_their_outcome(sandboxes):
    cold = _figure("acquires_total", outcome="cold", code="")
    reused = _figure("acquires_total", outcome="reused", code="")
    for _ in range(3):
        await sandboxes.acquire("counted")
    assert _figure("acquires_total", outcome="cold", code="") == cold + 1
    assert _figure("acquires_total", outcome="reused", code="") == reused + 2


async def test_a_cleanup_counts_what_it_found_and_looks_at_what_lives(sandboxes):
    await sandboxes.acquire("lives")
    expired = _figure("settled_total", kind="expired")
    await sandboxes.acquire("expires", idle_timeout_seconds=1)

    async def has_expired():
        return (await sandboxes.cleanup_idle()).expired

    async with asyncio.timeout(20):
        while not await has_expired():
            await asyncio.sleep(0.1)
    assert _figure("settled_total", kind="expired") == expired + 1
    assert _figure("live_sandboxes") == len((await sandboxes.list_sandboxes()).sandboxes)
