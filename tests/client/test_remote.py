"""The client over HTTP, against servers that answer, break off, redirect, or are not there."""

from __future__ import annotations

import asyncio
import json
import secrets

import httpx
import pytest
from tests.client.conftest import KEY
from tests.client.scripted import RELEASED, client_of, error

from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import (
    CapacityError,
    ConfigurationError,
    InternalError,
    InvalidRequestError,
    LeaseNotFoundError,
    SandboxError,
    SandboxExpiredError,
    SandboxLostError,
    ServerUnreachableError,
    UnauthenticatedError,
    UnavailableError,
)
from oneseek_sandbox.testing.server import free_port


async def test_the_wrong_key_is_refused_as_the_servers_own_class(server):
    async with RemoteSandboxes(server.url, "wrong-key-of-some-length") as sandboxes:
        with pytest.raises(UnauthenticatedError):
            await sandboxes.acquire("t")


async def test_a_wrong_field_is_refused_before_anything_is_sent():
    sandboxes, script = client_of()
    with pytest.raises(InvalidRequestError, match="timeout_seconds"):
        await sandboxes.execute("true", thread_id="t", timeout_seconds=-1)
    with pytest.raises(InvalidRequestError, match="sandbox_id or by thread_id"):
        await sandboxes.ls()
    assert script.requests == []


@pytest.mark.parametrize(
    ("answer", "raised"),
    [
        (error(404, "lease_not_found"), LeaseNotFoundError),
        (error(410, "sandbox_expired", may_have_run=True), SandboxExpiredError),
        (error(502, "a_code_of_later_days"), UnavailableError),
        (error(418, "a_code_of_later_days"), InternalError),
        (httpx.Response(502, text="<html>Bad Gateway</html>"), UnavailableError),
    ],
)
async def test_an_error_has_the_servers_class_and_says_what_it_said(answer, raised):
    sandboxes, _ = client_of(answer, retry_seconds=0)
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
    full = error(429, "capacity", headers={"retry_after": "1"})
    sandboxes, script = client_of(full, httpx.Response(200, json=RELEASED))
    begun = asyncio.get_running_loop().time()
    await sandboxes.release(sandbox_id="0" * 32)
    assert asyncio.get_running_loop().time() - begun >= 1
    assert len(script.requests) == 2


async def test_capacity_for_longer_than_the_patience_is_told():
    sandboxes, script = client_of(error(429, "capacity", headers={"retry_after": "3600"}))
    with pytest.raises(CapacityError) as refused:
        await sandboxes.acquire("t")
    assert refused.value.retry_after_seconds == 3600
    assert len(script.requests) == 1


async def test_a_plain_command_is_never_sent_twice_once_it_was_sent():
    sandboxes, script = client_of(httpx.ReadError("cut"))
    with pytest.raises(ServerUnreachableError) as refused:
        await sandboxes.execute("true", thread_id="t")
    assert refused.value.may_have_run is True
    assert len(script.requests) == 1


async def test_a_command_with_a_request_id_is_asked_for_again(server):
    async with RemoteSandboxes(server.url, KEY) as real:
        name = {"sandbox_id": (await real.acquire(f"thread-{secrets.token_hex(6)}")).sandbox_id}
        done = await real.execute("echo x >> n; cat n", request_id="r", **name)
        answer = httpx.Response(200, json=json.loads(done.model_dump_json()))
        sandboxes, script = client_of(httpx.ReadError("cut"), httpx.ReadTimeout("late"), answer)
        again = await sandboxes.execute("echo x >> n; cat n", request_id="r", **name)
        assert again == done
        assert len({body for _, body in script.requests}) == 1
        await real.release(**name)


async def test_what_an_earlier_try_may_have_done_is_told_with_the_last_ones_error():
    gone = error(410, "sandbox_lost")
    sandboxes, _ = client_of(httpx.ReadError("cut"), gone)
    with pytest.raises(SandboxLostError) as refused:
        await sandboxes.execute("true", sandbox_id="0" * 32, request_id="r")
    assert refused.value.may_have_run is True


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(504, text="<html>Gateway Timeout</html>"),
        httpx.Response(200, text="<html>Welcome</html>"),
        httpx.Response(200, json={"exit_code": "SECRET"}),
        httpx.Response(500, text="[" * 100_000),
        httpx.Response(503, json={"error": {"status": None}}),
    ],
)
async def test_an_answer_that_is_not_ours_says_that_the_command_may_have_run(answer):
    sandboxes, script = client_of(answer)
    with pytest.raises(SandboxError) as refused:
        await sandboxes.execute("true", thread_id="t")
    assert refused.value.may_have_run is True
    assert "SECRET" not in refused.value.message
    assert len(script.requests) == 1


@pytest.mark.parametrize("key", ["s3cret-of-the-tests\n", " s3cret-of-the-tests", "s3cret-ü-tests"])
async def test_a_key_that_no_header_carries_is_refused_and_not_quoted(key):
    with pytest.raises(ConfigurationError) as refused:
        RemoteSandboxes("http://sandbox.test", key)
    assert "s3cret" not in refused.value.message


async def test_a_password_in_the_url_is_refused_and_not_quoted():
    with pytest.raises(ConfigurationError) as refused:
        RemoteSandboxes("http://user:s3cret@sandbox.test", KEY)
    assert "s3cret" not in refused.value.message


async def test_the_key_follows_no_redirect():
    away = httpx.Response(307, headers={"location": "http://elsewhere.test/v1/sandbox/release"})
    sandboxes, script = client_of(away, retry_seconds=0)
    with pytest.raises(Exception, match="307"):
        await sandboxes.release(thread_id="t")
    assert [request.url.host for request, _ in script.requests] == ["sandbox.test"]


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


async def test_no_command_environment_input_or_key_stands_in_a_url():
    """What stands there is in the logs of whatever is on the way."""
    answers = [error(404, "lease_not_found") for _ in range(6)]
    sandboxes, script = client_of(*answers, retry_seconds=0)
    secret = "s3cr3t"
    name = {"thread_id": "t"}
    stream = sandboxes.stream(secret, env={secret: secret}, **name)
    for call in (
        sandboxes.execute(secret, env={"TOKEN": secret}, stdin=secret, request_id="a", **name),
        anext(stream),
        sandboxes.start([secret], env={"TOKEN": secret}, **name),
        sandboxes.input("a", secret, offset=0, **name),
        sandboxes.attach("a", **name).__anext__(),
        sandboxes.write_file("/workspace/f", secret, **name),
    ):
        with pytest.raises(LeaseNotFoundError):
            await call
    urls = [str(request.url) for request, _ in script.requests]
    assert len(urls) == 6
    assert [url for url in urls if secret in url or KEY in url or "?" in url] == []
