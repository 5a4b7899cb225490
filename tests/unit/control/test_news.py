"""At least one caller hears that a sandbox is new or restarted: exactly one if no answer was cut."""

from __future__ import annotations

import asyncio
import dataclasses

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
    assert [(await world.acquire()).reused for _ in range(2)] == [False, True]


@pytest.mark.parametrize("heard", [True, False])
async def test_a_second_acquire_waits_until_the_first_was_answered(new_world, heard):
    """A caller that asks again within the life of a creation lease is not told `reused: true`."""
    world = new_world()
    world.store._book.terms = dataclasses.replace(world.store._book.terms, creation_ms=10**6)
    first = await world.acquisition.acquire(world.thread, idle_ms=None)
    second = asyncio.create_task(world.acquire())
    assert not (await asyncio.wait({second}, timeout=0.2))[0]
    await world.acquisition.settle_news(first, heard=heard)
    assert (await second).reused is heard


async def test_a_caller_that_leaves_while_it_takes_the_news_gives_them_back(new_world):
    world = new_world()
    world.store._book.terms = dataclasses.replace(world.store._book.terms, creation_ms=10**6)
    take_news, taking, go_on = world.store.take_news, asyncio.Event(), asyncio.Event()

    async def slow(*args, **fields):
        taken = await take_news(*args, **fields)
        taking.set()
        await go_on.wait()
        return taken

    world.store.take_news = slow
    leaving = asyncio.create_task(world.acquire())
    await taking.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    world.store.take_news = take_news
    go_on.set()
    assert not (await world.acquire()).reused


async def test_an_acquire_whose_sandbox_is_released_before_it_tells_gets_another(world):
    take_news = world.store.take_news

    async def after_a_release(lease, **fields):
        world.store.take_news = take_news
        await world.store.release(world.thread, sandbox_id=None)
        return await take_news(lease, **fields)

    world.store.take_news = after_a_release
    acquired = await world.acquire()
    assert not acquired.reused
    assert (await world.store.get(world.thread)).sandbox_id == acquired.sandbox_id


async def test_an_adopted_sandbox_is_no_news(world):
    await world.acquire()
    world.empty_store()
    assert (await world.acquire()).reused


@pytest.mark.parametrize("taker", ["acquire", "cleanup"])
async def test_a_sandbox_that_was_claimed_and_never_given_out_is_news(world, taker):
    """Its creator could not commit, and died; until then nobody could have put a file in it."""
    commit, committing = world.store.commit, asyncio.Event()

    async def hang(*args, **fields):
        committing.set()
        await asyncio.Event().wait()

    world.store.commit = hang
    creation = await world.begin()
    creating = asyncio.create_task(world.creator._steps(creation, unasked=False, keep_idle=False))
    await committing.wait()
    sandbox = world.only_object()
    assert sandbox.claimed
    world.worker().empty = True
    world.store.commit = commit
    async with asyncio.timeout(10):
        if taker == "acquire":
            told = [(await world.acquire()).reused for _ in range(2)]
        else:
            while not (await world.cleanup().run()).adopted:
                await asyncio.sleep(0.01)
            told = [(await world.acquire()).reused for _ in range(2)]
    assert told == [False, True]
    assert world.only_object().uid == sandbox.uid
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
