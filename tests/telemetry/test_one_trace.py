"""One trace leads from the backend through the function to the worker, in three processes."""

from __future__ import annotations

import pytest
from opentelemetry import trace
from tests.telemetry.collector import until
from tests.telemetry.conftest import KEY

from oneseek_sandbox.client import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.client.thread import ThreadSandbox
from oneseek_sandbox.errors import InvalidRequestError, WorkspaceFileNotFoundError
from oneseek_sandbox.models import ExecuteAnswer


def _chain(collector, backend, *names):
    """Return the server's spans of the backend span's trace, each the parent of the next."""

    def find():
        above, found = backend, []
        theirs = [s for s in collector.spans() if s.trace_id == backend.trace_id]
        for name in names:
            below = [s for s in theirs if s.name == name and s.parent_id == above.span_id]
            if not below:
                return None
            found.append(above := below[0])
        return found

    return until(find, f"{names} below {backend}: {collector.spans()}")


def _only(spans, name):
    (found,) = [span for span in spans() if span.name == name]
    return found


async def test_an_execute_is_one_trace_of_backend_function_and_worker(remote, collector, spans):
    acquired = await remote.acquire("one trace")
    await remote.execute("printf four; exit 3", sandbox_id=acquired.sandbox_id)
    backend = _only(spans, "sandbox.execute")
    assert (backend.kind, backend.parent_id) == ("client", None)
    function, worker = _chain(collector, backend, "function.execute", "worker.execute")
    assert (function.kind, function.service) == ("server", "oneseek-sandbox")
    assert (worker.kind, worker.service) == ("client", "oneseek-sandbox")
    for span in (backend, function, worker):
        assert span.attributes["sandbox.exit_code"] == 3
        assert span.attributes["sandbox.timed_out"] is False
        assert span.attributes["sandbox.stdout_bytes"] == 4
        assert span.attributes["sandbox.id"] == acquired.sandbox_id
    for span in (function, worker):
        assert span.attributes["sandbox.thread_id"] == "one trace"
        assert span.attributes["sandbox.scope"] == "default"
        assert span.attributes["sandbox.generation"] == acquired.generation


async def test_every_verb_is_a_part_of_the_backends_own_trace(remote, collector, spans):
    name = {"thread_id": "every verb"}
    with trace.get_tracer("of the backend").start_as_current_span("turn of an agent"):
        await remote.acquire("every verb")
        await remote.write_file("/workspace/a", "text", **name)
        await remote.upload("/workspace/b", b"bytes", **name)
        await remote.read_file("/workspace/a", **name)
        async with remote.download("/workspace/b", **name) as file:
            assert b"".join([chunk async for chunk in file.chunks]) == b"bytes"
        await remote.replace("/workspace/a", "text", "words", **name)
        await remote.ls(**name)
        assert isinstance([e async for e in remote.stream("true", **name)][-1], ExecuteAnswer)
        await remote.release(**name)
        await remote.cleanup_idle()
    turn = _only(spans, "turn of an agent")
    ours = [span for span in spans() if span.name.startswith("sandbox.")]
    assert {span.parent_id for span in ours} == {turn.span_id}
    assert [span.name.removeprefix("sandbox.") for span in ours] == [
        "acquire",
        "write_file",
        "write_file",
        "read_file",
        "read_file",
        "replace",
        "ls",
        "execute",
        "release",
        "cleanup_idle",
    ]
    workers = {
        "write_file": "worker.write",
        "read_file": "worker.read",
        "replace": "worker.replace",
        "ls": "worker.ls",
        "execute": "worker.execute",
    }
    for span in ours:
        verb = span.name.removeprefix("sandbox.")
        below = [workers[verb]] if verb in workers else []
        chain = _chain(collector, span, f"function.{verb}", *below)
        assert [s.error for s in (span, *chain)] == [""] * (1 + len(chain))


async def test_an_acquire_tells_whether_it_was_reused(remote, collector, spans):
    await remote.acquire("reused")
    await remote.acquire("reused")
    first, second = [span for span in spans() if span.name == "sandbox.acquire"]
    assert (first.attributes["sandbox.reused"], second.attributes["sandbox.reused"]) == (
        False,
        True,
    )
    assert second.attributes["sandbox.warm"] is False
    (function,) = _chain(collector, second, "function.acquire")
    assert function.attributes["sandbox.reused"] is True


async def test_an_error_has_its_code_in_every_span_and_the_traces_id_in_its_body(
    remote, server, collector, spans
):
    acquired = await remote.acquire("an error")
    with pytest.raises(WorkspaceFileNotFoundError):
        await remote.read_file("/workspace/none", sandbox_id=acquired.sandbox_id)
    backend = _only(spans, "sandbox.read_file")
    for span in (backend, *_chain(collector, backend, "function.read_file", "worker.read")):
        assert span.error == WorkspaceFileNotFoundError.code
        assert span.attributes["error.type"] == WorkspaceFileNotFoundError.code
    given = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
    async with server.async_client() as client:
        refused = await client.post("/v1/sandbox/ls", json={"thread_id": "nobody"}, headers=given)
        bare = await client.post("/v1/sandbox/ls", json={"thread_id": "nobody"})
    assert refused.json()["error"]["trace_id"] == "ab" * 16
    own = bare.json()["error"]["trace_id"]
    assert bare.headers["x-trace-id"] == own
    until(lambda: [s for s in collector.spans() if s.trace_id == own], "the server's own trace")


async def test_a_stream_that_is_left_is_cancelled_in_every_span(remote, collector, spans):
    acquired = await remote.acquire("a stream that is left")
    events = remote.stream("echo on; exec sleep 60", sandbox_id=acquired.sandbox_id)
    async for _ in events:
        break
    await events.aclose()
    backend = _only(spans, "sandbox.execute")
    chain = _chain(collector, backend, "function.execute", "worker.execute")
    assert [span.error for span in (backend, *chain)] == ["cancelled"] * 3


async def test_what_the_backend_does_while_it_streams_is_no_part_of_the_stream(remote, spans):
    await remote.acquire("two streams")
    tracer = trace.get_tracer("of the backend")
    one = remote.stream("echo 1", thread_id="two streams")
    two = remote.stream("echo 2", thread_id="two streams")
    await anext(one)
    await anext(two)
    with tracer.start_as_current_span("between"):
        pass
    for events in (one, two):
        assert [e async for e in events]
    names = {span.name: span.parent_id for span in spans()}
    assert names["between"] is None
    assert names["sandbox.execute"] is None


async def test_a_thread_sandbox_acquires_and_executes_in_the_turns_trace(remote, spans):
    with trace.get_tracer("of the backend").start_as_current_span("turn"):
        await ThreadSandbox(remote, "of a thread").execute("true")
    turn = _only(spans, "turn")
    assert _only(spans, "sandbox.acquire").parent_id == turn.span_id
    assert _only(spans, "sandbox.execute").parent_id == turn.span_id


def test_code_that_is_not_async_keeps_its_trace(server, spans):
    with (
        BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes,
        trace.get_tracer("of the backend").start_as_current_span("turn"),
    ):
        sandboxes.acquire("not async")
        assert list(sandboxes.stream("true", thread_id="not async"))
    turn = _only(spans, "turn")
    assert _only(spans, "sandbox.acquire").parent_id == turn.span_id
    assert _only(spans, "sandbox.execute").parent_id == turn.span_id


async def test_a_command_sees_nothing_of_where_traces_go(remote):
    await remote.acquire("sees nothing")
    seen = await remote.execute("env", thread_id="sees nothing")
    assert "OTEL" not in seen.stdout
    assert "TRACEPARENT" not in seen.stdout.upper()


async def test_what_is_refused_before_it_is_sent_is_no_span(remote, spans):
    with pytest.raises(InvalidRequestError):
        await remote.execute("true", thread_id="x", timeout_seconds=-1)
    assert spans() == []
