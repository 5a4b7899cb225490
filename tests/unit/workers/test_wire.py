"""The connection to a worker, against servers that behave as no worker should."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from tests.unit.workers.callers import DEADLINE, OK, answer_always, ask

from oneseek_sandbox.workers.connection import Peer, connect
from oneseek_sandbox.workers.request import Request
from oneseek_sandbox.workers.wire import CutOffError, NotReachedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def test_requests_go_one_after_the_other_over_one_connection(serve, pool):
    peer, callers = await serve(answer_always)
    for _ in range(5):
        assert await ask(pool, peer, content=b"x" * 200_000) == (200, b"ok")
    assert len(callers) == 1


async def test_an_answer_may_come_byte_by_byte(serve, pool):
    whole = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

    async def slowly(caller):
        while True:
            await caller.request()
            for byte in whole:
                await caller.send(bytes([byte]))
                await asyncio.sleep(0)

    peer, callers = await serve(slowly)
    assert [await ask(pool, peer) for _ in range(2)] == [(200, b"abc")] * 2
    assert len(callers) == 1


async def test_a_connection_that_was_closed_while_idle_is_not_used(serve, pool):
    async def once(caller):
        await caller.request()
        await caller.send(OK)

    peer, callers = await serve(once)
    for _ in range(20):
        assert await ask(pool, peer) == (200, b"ok")
    assert len(callers) == 20


@pytest.mark.parametrize("more", [b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nbad", b"rubbish"])
async def test_what_nobody_asked_for_answers_nothing(serve, pool, more):
    async def twice(caller):
        while True:
            await caller.request()
            await caller.send(OK + more)

    peer, callers = await serve(twice)
    for _ in range(3):
        with contextlib.suppress(CutOffError):
            assert await ask(pool, peer) == (200, b"ok")
    assert len(callers) == 3


@pytest.mark.parametrize(
    "answer",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000,
        b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ],
)
async def test_what_is_no_answer_is_cut_off(serve, pool, answer):
    async def badly(caller):
        await caller.request()
        await caller.send(answer)

    peer, _ = await serve(badly)
    with pytest.raises(CutOffError):
        await ask(pool, peer)


async def test_one_that_is_silent_is_given_up(serve, pool):
    ended = asyncio.Event()

    async def silent(caller):
        await caller.request()
        await caller.send(OK[:-1])
        assert await caller.reader.read() == b""
        ended.set()

    peer, _ = await serve(silent)
    with pytest.raises(CutOffError, match="silent"):
        await ask(pool, peer, read_seconds=0.2)
    await asyncio.wait_for(ended.wait(), DEADLINE)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 65_536
        await asyncio.sleep(0)


async def test_one_that_takes_nothing_of_a_body_is_given_up(serve, pool):
    over = asyncio.Event()

    async def deaf(caller):
        caller.reader._transport.pause_reading()
        await over.wait()

    peer, _ = await serve(deaf)
    for content in (endless(), b"x" * 50_000_000):
        with pytest.raises(CutOffError, match="took nothing"):
            await ask(pool, peer, content=content, write_seconds=0.2)
    over.set()


async def test_a_refusal_is_read_before_the_body_has_ended(serve, pool):
    async def refuse(caller):
        await caller.reader.readuntil(b"\r\n\r\n")
        await caller.send(OK.replace(b"200", b"507"))
        while await caller.reader.read(65_536):
            pass

    peer, callers = await serve(refuse)
    async with asyncio.timeout(DEADLINE):
        assert await ask(pool, peer, content=endless()) == (507, b"ok")
        assert await ask(pool, peer) == (507, b"ok")
    assert len(callers) == 2, "what is left of a body would be taken for the next request"


@pytest.mark.parametrize("answer", [b"", OK.replace(b"200", b"507")])
@pytest.mark.parametrize("more", [b"", b"more"])
async def test_a_body_goes_on_after_the_connection_has_ended(serve, pool, answer, more):
    gone = asyncio.Event()

    async def leave(caller):
        await caller.reader.readuntil(b"\r\n\r\n")
        await caller.send(answer)
        caller.writer.close()
        await caller.writer.wait_closed()
        gone.set()

    async def content():
        yield b"first"
        await gone.wait()
        for _ in range(20):
            await asyncio.sleep(0.01)
        yield more

    peer, _ = await serve(leave)
    if answer:
        assert await ask(pool, peer, content=content()) == (507, b"ok")
    else:
        with pytest.raises(CutOffError):
            await ask(pool, peer, content=content())


@asynccontextmanager
async def seen_to_end(serve, pool, head=b""):
    """Inside, a request is under way; after it, the server must see its connection end."""
    asked, ended = asyncio.Event(), asyncio.Event()

    async def handle(caller):
        await caller.request()
        await caller.send(head)
        asked.set()
        await caller.reader.read()
        ended.set()

    peer, _ = await serve(handle)
    task = asyncio.ensure_future(ask(pool, peer))
    await asyncio.wait_for(asked.wait(), DEADLINE)
    yield task
    await asyncio.wait_for(ended.wait(), DEADLINE)


@pytest.mark.parametrize("head", [b"", OK[:-1]])
async def test_a_caller_that_leaves_closes_the_connection(serve, pool, head):
    async with seen_to_end(serve, pool, head) as task:
        task.cancel()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_of_a_body_that_nobody_takes_little_is_read(serve, pool):
    sent = 0

    async def flood(caller):
        nonlocal sent
        await caller.request()
        await caller.send(b"HTTP/1.1 200 OK\r\ncontent-length: 100000000\r\n\r\n")
        for _ in range(1000):
            await caller.send(b"x" * 100_000)
            sent += 100_000

    peer, _ = await serve(flood)
    async with pool.asked(peer, Request("GET", "/")) as answer:
        before = -1
        while sent != before:  # until neither side's buffers take more
            before = sent
            await asyncio.sleep(0.2)
        assert sent < 20_000_000
        assert sum([len(piece) async for piece in answer.pieces()]) == 100_000_000
    assert sent == 100_000_000


async def test_nobody_there_is_no_answer_cut_off(tmp_path):
    for address in (f"unix:{tmp_path}/none", "tcp:127.0.0.1:1", "tcp:[::1]:1", "none"):
        with pytest.raises(NotReachedError):
            await connect(Peer(address), 5.0)
