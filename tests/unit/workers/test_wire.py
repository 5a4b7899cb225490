"""The connection to a worker, and the pool: against servers on sockets that behave as no worker should."""

from __future__ import annotations

import asyncio
import contextlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.workers import pool as pools
from oneseek_sandbox.workers.connection import Peer, connect
from oneseek_sandbox.workers.pool import WirePool
from oneseek_sandbox.workers.request import Request
from oneseek_sandbox.workers.wire import CutOffError, NotReachedError, Wire

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DEADLINE = 60.0


class Caller:
    """What a server has of a connection: what came, and whether it ended."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    async def request(self):
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await self.reader.readexactly(int(line[15:]))
        return head

    async def send(self, data):
        self.writer.write(data)
        await self.writer.drain()


@pytest.fixture(params=["unix", "tcp"])
async def serve(request, tmp_path):
    """Return a function that starts a server of one handler and returns its peer and its callers."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handle: Callable[[Caller], Awaitable[None]]):
            callers = []

            async def take(reader, writer):
                callers.append(caller := Caller(reader, writer))
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await handle(caller)
                writer.close()

            if request.param == "unix":
                path = tmp_path / "socket"
                server = await asyncio.start_unix_server(take, path)
                address = f"unix:{path}"
            else:
                server = await asyncio.start_server(take, "127.0.0.1", 0)
                address = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
            stack.callback(server.close)
            return Peer(address), callers

        yield start


@pytest.fixture
async def pool():
    pool = WirePool()
    yield pool
    pool.close()


async def ask(pool, peer, **fields):
    async with pool.asked(peer, Request("POST", "/do", **fields)) as answer:
        return answer.status, b"".join([piece async for piece in answer.pieces()])


async def answer_always(caller, data=OK):
    while True:
        await caller.request()
        await caller.send(data)


async def test_requests_go_one_after_the_other_over_one_connection(serve, pool):
    peer, callers = await serve(answer_always)
    for _ in range(5):
        assert await ask(pool, peer, content=b"x" * 200_000) == (200, b"ok")
    assert len(callers) == 1


async def test_an_answer_may_come_byte_by_byte(serve, pool):
    async def slowly(caller):
        while True:
            await caller.request()
            for (
                byte
            ) in b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n":
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


async def test_few_idle_connections_are_kept_and_not_for_long(serve, pool, monkeypatch):
    peer, callers = await serve(answer_always)

    async def ask_at_once(count):
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(count):
                answer = await stack.enter_async_context(pool.asked(peer, Request("GET", "/")))
                assert [piece async for piece in answer.pieces()] == [b"ok"]

    monkeypatch.setattr(pools, "_MAX_IDLE", 3)
    await ask_at_once(5)
    await ask_at_once(5)
    assert len(callers) == 7
    monkeypatch.setattr(pools, "_IDLE_SECONDS", 0.0)
    await ask(pool, peer)
    await ask(pool, peer)
    assert len(callers) == 8


async def test_a_request_looks_at_no_connection_of_another_worker(serve, pool, monkeypatch):
    peer, callers = await serve(answer_always)
    others = [Peer(peer.address, boot_id=str(number)) for number in range(50)]
    for other in others:
        await ask(pool, other)
    looks = []
    look = vars(Wire)["is_usable"].fget
    monkeypatch.setattr(Wire, "is_usable", property(lambda wire: looks.append(wire) or look(wire)))
    for _ in range(2):
        assert await ask(pool, others[0]) == (200, b"ok")
    assert (len(callers), len(set(looks)), len(looks)) == (50, 1, 4)


async def test_requests_beyond_the_most_wait_and_are_then_refused(serve, pool, monkeypatch):
    peer, callers = await serve(answer_always)
    monkeypatch.setattr(pools, "_CONNECT_SECONDS", 0.2)
    pool._free = asyncio.Semaphore(1)
    async with pool.asked(peer, Request("GET", "/")):
        with pytest.raises(NotReachedError, match="under way"):
            await ask(pool, peer)
        waiting = asyncio.ensure_future(ask(pool, peer))
        await asyncio.sleep(0)
    assert await waiting == (200, b"ok")
    assert len(callers) == 2
