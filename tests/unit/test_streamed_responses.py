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
    opened = AsyncExitStack()
    sent = await opened.enter_async_context(aclosing(pieces(count, closed)))
    response = StreamedResponse(sent, opened, RunningCalls())
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
