"""At least one caller hears that a sandbox is new or restarted: exactly one if no answer was cut."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.models import AcquireRequest

pytestmark = [pytest.mark.promise(1), pytest.mark.finding(7)]

REQUEST = AcquireRequest(thread_id="t")


async def test_of_many_acquires_one_hears_of_a_fresh_sandbox(world):
    told = await asyncio.gather(*(world.acquire() for _ in range(20)))
    assert sorted(answer.reused for answer in told) == [False] + 19 * [True]
    assert (await world.acquire()).reused


async def test_a_caller_cut_off_while_its_sandbox_is_made_leaves_the_news_to_the_next(world):
    claiming, go_on = world.hold_claims()
    leaving = asyncio.create_task(world.acquire())
    await claiming.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go_on.set()
    assert [(await world.acquire()).reused for _ in range(3)] == [False, True, True]


async def test_an_answer_that_could_not_be_sent_leaves_the_news_to_the_next(world):
    with pytest.raises(ConnectionError):
        async with world.provisioner.acquiring(REQUEST, world.caller) as answer:
            assert not answer.reused
            raise ConnectionError
    assert [(await world.acquire()).reused for _ in range(2)] == [False, True]


async def test_the_news_of_a_server_that_died_while_it_told_them_are_told_again(world):
    lease = (await world.acquisition.acquire(world.thread, idle_ms=None)).lease
    assert lease.placement.fresh
    assert (await world.acquire()).reused, "somebody is about to tell"
    async with asyncio.timeout(10):
        while (await world.acquire()).reused:
            await asyncio.sleep(0.01)
    assert (await world.acquire()).reused


async def test_an_adopted_sandbox_is_no_news(world):
    await world.acquire()
    world.empty_store()
    assert (await world.acquire()).reused
