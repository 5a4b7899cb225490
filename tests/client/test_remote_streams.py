"""Streams, uploads and downloads over HTTP, and what ends them."""

from __future__ import annotations

import asyncio
import secrets

import httpx
import pytest
from tests.client.scripted import WRITTEN, client_of, error

from oneseek_sandbox.client import Output
from oneseek_sandbox.errors import (
    InvalidRequestError,
    SandboxError,
    SandboxLostError,
    SandboxReleasedError,
    ServerUnreachableError,
)


@pytest.mark.parametrize(
    ("frame", "raised"),
    [
        (
            b'event: error\ndata: {"error": {"code": "sandbox_lost", "message": "m", '
            b'"may_have_run": true}}\n\n',
            SandboxLostError,
        ),
        (b"event: error\ndata: []\n\n", SandboxError),
        (b"event: exit\ndata: {}\n\n", SandboxError),
        (b"event: stdout\ndata: <html>\n\n", SandboxError),
        (b"event: ping\ndata: {}\n\n", ServerUnreachableError),
    ],
)
async def test_whatever_a_stream_says_ends_in_an_error_of_the_service(frame, raised):
    sandboxes, _ = client_of(httpx.Response(200, content=frame))
    with pytest.raises(raised) as refused:
        async for _ in sandboxes.stream("true", thread_id="t"):
            pass
    assert refused.value.may_have_run is True


async def test_a_text_is_no_upload_and_the_error_says_what_is():
    sandboxes, script = client_of()
    for wrong in ("text", 5, None):
        with pytest.raises(InvalidRequestError, match=r"write_file for a text, and pathlib\.Path"):
            await sandboxes.upload("/workspace/x", wrong, thread_id="t")
    assert script.requests == []


async def test_a_path_uploads_that_file_whole_also_when_it_is_sent_again(tmp_path):
    local = tmp_path / "local"
    local.write_bytes(b"bytes" * 500_000)
    answers = [error(503, "unavailable"), httpx.Response(200, json=WRITTEN)]
    sandboxes, script = client_of(*answers)
    await sandboxes.upload("/workspace/x", local, thread_id="t")
    assert [body for _, body in script.requests] == [local.read_bytes()] * 2
    assert {request.headers["content-length"] for request, _ in script.requests} == {"2500000"}


async def test_a_path_that_cannot_be_read_is_the_callers_error(tmp_path):
    sandboxes, script = client_of()
    with pytest.raises(FileNotFoundError):
        await sandboxes.upload("/workspace/x", tmp_path / "absent", thread_id="t")
    assert script.requests == []


async def test_pieces_are_uploaded_in_their_order():
    sandboxes, script = client_of(httpx.Response(200, json=WRITTEN))
    await sandboxes.upload("/workspace/x", (b"%d" % n for n in range(9)), thread_id="t")
    assert script.requests[0][1] == b"012345678"


async def test_a_released_sandbox_ends_a_stream_as_it_ends_a_call(remote):
    name = {"sandbox_id": (await remote.acquire(f"thread-{secrets.token_hex(6)}")).sandbox_id}
    events = remote.stream("echo up; sleep 60", **name)
    assert await anext(events) == Output("stdout", "up\n")
    await remote.release(**name)
    with pytest.raises(SandboxReleasedError):
        await anext(events)


async def test_a_download_without_its_facts_is_not_ours():
    sandboxes, _ = client_of(httpx.Response(200, content=b"bytes"))
    with pytest.raises(SandboxError, match="not as an oneseek-sandbox server"):
        async with sandboxes.download("/workspace/x", thread_id="t"):
            pass


async def test_a_stream_that_breaks_off_is_no_end():
    cut = httpx.Response(200, content=b'event: stdout\ndata: {"text": "a"}\n\n')
    sandboxes, _ = client_of(cut)
    seen = []
    with pytest.raises(ServerUnreachableError) as refused:
        async for event in sandboxes.stream("true", thread_id="t"):
            seen.append(event)  # noqa: PERF401
    assert seen == [Output("stdout", "a")]
    assert refused.value.may_have_run is True


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
