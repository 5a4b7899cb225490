"""A stream goes to a caller that takes it; one that takes nothing counts as gone."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, aclosing

import pytest

from oneseek_sandbox.http import streams
from oneseek_sandbox.http.running import RunningCalls
from oneseek_sandbox.http.streams import StreamedResponse

pytestmark = pytest.mark.finding(8)


class Caller:
    """Takes as many messages as `takes` says, each after `seconds`, and then none."""

    def __init__(self, takes, seconds=0.0):
        self.taken = []
        self._takes = takes
        self._seconds = seconds

    async def send(self, message):
        if len(self.taken) >= self._takes:
            await asyncio.Event().wait()
        await asyncio.sleep(self._seconds)
        self.taken.append(message)

    async def receive(self):
        await asyncio.Event().wait()


@pytest.fixture
def closed():
    return []


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(streams, "_PATIENCE_SECONDS", 0.2)


async def pieces(count, closed):
    try:
        for _ in range(count):
            yield b"x"
    finally:
        closed.append(True)


async def answer(caller, count, closed):
    await send(caller, pieces(count, closed))


async def send(caller, content, **options):
    opened = AsyncExitStack()
    sent = await opened.enter_async_context(aclosing(content))
    response = StreamedResponse(sent, opened, RunningCalls(), **options)
    scope = {"type": "http", "asgi": {"spec_version": "2.3"}}
    async with asyncio.timeout(10):
        await response(scope, caller.receive, caller.send)


async def test_a_caller_that_takes_nothing_more_is_given_up(closed):
    caller = Caller(takes=3)
    await answer(caller, 100, closed)
    assert closed == [True]
    assert len(caller.taken) == 3


async def test_a_slow_caller_gets_everything(closed):
    caller = Caller(takes=1000, seconds=0.05)
    await answer(caller, 20, closed)
    assert closed == [True]
    assert b"".join(message.get("body", b"") for message in caller.taken) == b"x" * 20


async def quiet_pieces(until):
    yield b"first"
    await until.wait()
    yield b"last"


async def test_a_quiet_stream_is_pinged_between_its_pieces(monkeypatch):
    monkeypatch.setattr(streams, "PING_SECONDS", 0.02)
    caller, until = Caller(takes=1000), asyncio.Event()
    sending = asyncio.ensure_future(send(caller, quiet_pieces(until), ping=b": ping\n\n"))
    async with asyncio.timeout(10):
        while len(caller.taken) < 6:
            await asyncio.sleep(0.01)
    until.set()
    await sending
    start, *bodies = caller.taken
    assert start["type"] == "http.response.start"
    first, *pings, last, end = [body["body"] for body in bodies]
    assert (first, last, end) == (b"first", b"last", b"")
    assert set(pings) == {b": ping\n\n"}
    assert [body["more_body"] for body in bodies] == [True] * (len(bodies) - 1) + [False]


async def test_a_caller_of_a_quiet_stream_that_takes_nothing_is_waited_for_no_longer(monkeypatch):
    monkeypatch.setattr(streams, "PING_SECONDS", 0.02)
    caller, until = Caller(takes=2), asyncio.Event()
    sending = asyncio.ensure_future(send(caller, quiet_pieces(until), ping=b": ping\n\n"))
    await asyncio.sleep(0.3)
    until.set()
    await sending
    assert len(caller.taken) == 2


async def test_a_file_is_never_pinged(monkeypatch):
    monkeypatch.setattr(streams, "PING_SECONDS", 0.01)
    caller, until = Caller(takes=1000), asyncio.Event()
    sending = asyncio.ensure_future(send(caller, quiet_pieces(until)))
    await asyncio.sleep(0.1)
    until.set()
    await sending
    assert b"".join(message.get("body", b"") for message in caller.taken) == b"firstlast"
