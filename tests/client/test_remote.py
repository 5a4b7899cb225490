"""The client over HTTP, against servers that answer, break off, redirect, or are not there."""

from __future__ import annotations

import asyncio
import json
import secrets

import httpx
import pytest
from tests.client.conftest import KEY

from oneseek_sandbox.client import Output
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import (
    CapacityError,
    InvalidRequestError,
    LeaseNotFoundError,
    SandboxExpiredError,
    ServerUnreachableError,
    UnauthenticatedError,
    UnavailableError,
)
from oneseek_sandbox.testing.server import free_port


class Script(httpx.AsyncBaseTransport):
    """A server that plays one answer, or one failure, a call."""

    def __init__(self, *steps):
        self.steps = list(steps)
        self.requests = []

    async def handle_async_request(self, request):
        self.requests.append((request, await request.aread()))
        step = self.steps.pop(0)
        if isinstance(step, Exception):
            raise step
        return step


def _error(status, code, **fields):
    headers = {k.replace("_", "-"): v for k, v in fields.pop("headers", {}).items()}
    error = {"code": code, "message": "told", "retryable": status >= 429, **fields}
    return httpx.Response(status, json={"error": error}, headers=headers)


RELEASED = {"released": True, "already_released": False}


def _client(*steps, **options):
    script = Script(*steps)
    return RemoteSandboxes("http://sandbox.test", KEY, transport=script, **options), script


async def test_the_wrong_key_is_refused_as_the_servers_own_class(server):
    async with RemoteSandboxes(server.url, "wrong-key-of-some-length") as sandboxes:
        with pytest.raises(UnauthenticatedError):
            await sandboxes.acquire("t")


async def test_a_wrong_field_is_refused_before_anything_is_sent():
    sandboxes, script = _client()
    with pytest.raises(InvalidRequestError, match="timeout_seconds"):
        await sandboxes.execute("true", thread_id="t", timeout_seconds=-1)
    with pytest.raises(InvalidRequestError, match="sandbox_id or by thread_id"):
        await sandboxes.ls()
    assert script.requests == []


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (_error(404, "lease_not_found"), LeaseNotFoundError),
        (_error(410, "sandbox_expired", may_have_run=True), SandboxExpiredError),
        (_error(502, "a_code_of_later_days"), UnavailableError),
        (httpx.Response(502, text="<html>Bad Gateway</html>"), UnavailableError),
    ],
)
async def test_an_error_has_the_servers_class_and_says_what_it_said(answer, raised):
    sandboxes, _ = _client(answer, retry_seconds=0)
    with pytest.raises(raised) as refused:
        await sandboxes.ls(thread_id="t")
    assert type(refused.value) is raised
    assert refused.value.message
    if answer.status_code == 410:
        assert refused.value.may_have_run is True


async def test_a_server_that_is_not_there_is_named_and_nothing_ran():
    sandboxes = RemoteSandboxes(f"http://127.0.0.1:{free_port()}", KEY, retry_seconds=0)
    with pytest.raises(ServerUnreachableError, match="sandbox_provisioner_url") as refused:
        await sandboxes.execute("true", thread_id="t")
    assert refused.value.may_have_run is False


async def test_capacity_is_waited_for_as_long_as_the_server_says():
    full = _error(429, "capacity", headers={"retry_after": "1"})
    sandboxes, script = _client(full, httpx.Response(200, json=RELEASED))
    begun = asyncio.get_running_loop().time()
    await sandboxes.release(thread_id="t")
    assert asyncio.get_running_loop().time() - begun >= 1
    assert len(script.requests) == 2


async def test_capacity_for_longer_than_the_patience_is_told():
    sandboxes, script = _client(_error(429, "capacity", headers={"retry_after": "3600"}))
    with pytest.raises(CapacityError) as refused:
        await sandboxes.acquire("t")
    assert refused.value.retry_after_seconds == 3600
    assert len(script.requests) == 1


async def test_a_plain_command_is_never_sent_twice_once_it_was_sent():
    sandboxes, script = _client(httpx.ReadError("cut"))
    with pytest.raises(ServerUnreachableError) as refused:
        await sandboxes.execute("true", thread_id="t")
    assert refused.value.may_have_run is True
    assert len(script.requests) == 1


async def test_a_command_with_a_request_id_is_asked_for_again(server):
    async with RemoteSandboxes(server.url, KEY) as real:
        thread = f"thread-{secrets.token_hex(6)}"
        await real.acquire(thread)
        done = await real.execute("echo x >> n; cat n", thread_id=thread, request_id="r")
        answer = httpx.Response(200, json=json.loads(done.model_dump_json()))
        sandboxes, script = _client(httpx.ReadError("cut"), httpx.ReadTimeout("late"), answer)
        again = await sandboxes.execute("echo x >> n; cat n", thread_id=thread, request_id="r")
        assert again == done
        assert len({body for _, body in script.requests}) == 1
        await real.release(thread_id=thread)


async def test_the_key_follows_no_redirect():
    away = httpx.Response(307, headers={"location": "http://elsewhere.test/v1/sandbox/release"})
    sandboxes, script = _client(away, retry_seconds=0)
    with pytest.raises(Exception, match="307"):
        await sandboxes.release(thread_id="t")
    assert [request.url.host for request, _ in script.requests] == ["sandbox.test"]


async def test_a_stream_that_breaks_off_is_no_end():
    cut = httpx.Response(200, content=b'event: stdout\ndata: {"text": "a"}\n\n')
    sandboxes, _ = _client(cut)
    seen = []
    with pytest.raises(ServerUnreachableError) as refused:
        async for event in sandboxes.stream("true", thread_id="t"):
            seen.append(event)  # noqa: PERF401
    assert seen == [Output("stdout", "a")]
    assert refused.value.may_have_run is True


async def test_a_cancelled_call_ends_its_command(remote):
    thread = f"thread-{secrets.token_hex(6)}"
    token = secrets.token_hex(8)
    await remote.acquire(thread)
    running = asyncio.create_task(
        remote.execute(f"touch up; : {token}; sleep 99; true", thread_id=thread)
    )
    async with asyncio.timeout(20):
        while not (await remote.ls(thread_id=thread)).entries:
            await asyncio.sleep(0.02)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    search = f"cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -c 'up; : {token[:8]}[{token[8:9]}]'"
    async with asyncio.timeout(20):
        while (await remote.execute(search, thread_id=thread)).stdout.strip() != "0":
            await asyncio.sleep(0.05)
    await remote.release(thread_id=thread)


async def test_a_closed_stream_ends_its_command(remote):
    thread = f"thread-{secrets.token_hex(6)}"
    await remote.acquire(thread)
    events = remote.stream("echo up; sleep 99; touch late", thread_id=thread)
    assert await anext(events) == Output("stdout", "up\n")
    await events.aclose()
    async with asyncio.timeout(20):
        while (await remote.execute(["pgrep", "-c", "sleep"], thread_id=thread)).stdout != "0\n":
            await asyncio.sleep(0.05)
    await remote.release(thread_id=thread)
