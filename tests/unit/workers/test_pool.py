"""The pool of connections to workers."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.unit.workers.callers import answer_always, ask

from oneseek_sandbox.workers import pool as pools
from oneseek_sandbox.workers.connection import Peer
from oneseek_sandbox.workers.request import Request
from oneseek_sandbox.workers.wire import NotReachedError, Wire


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
