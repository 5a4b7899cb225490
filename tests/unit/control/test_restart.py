"""A sandbox whose processes ended is started again with its files, and its thread is told once."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from oneseek_sandbox.errors import StoreUnavailableError
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.testing.scripted_worker import ScriptedWorker


async def end_processes(world):
    """Leave the only sandbox with files and no process; the next one is there when asked for."""
    uid = world.only_object().uid
    await world.runtime.workers[uid].__aexit__()
    await world.workers.close()
    world.runtime.workers[uid] = await ScriptedWorker().__aenter__()
    address = world.runtime.workers[uid].address
    world.runtime.objects[uid] = dataclasses.replace(world.only_object(), address=address)
    world.runtime.stopped.add(uid)


async def test_a_restart_is_told_by_the_first_acquire_after_it_alone(world):
    first = await world.acquire()
    assert not first.restarted
    for _ in range(2):
        await end_processes(world)
        told = [await world.acquire() for _ in range(3)]
        assert {answer.sandbox_id for answer in told} == {first.sandbox_id}
        assert [answer.restarted for answer in told] == [True, False, False]


async def test_a_restart_whose_caller_went_away_is_told_to_the_next(world):
    await world.acquire()
    await end_processes(world)
    claiming, go_on = world.hold_claims()
    leaving = asyncio.create_task(world.acquire())
    await claiming.wait()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    go_on.set()
    assert [(await world.acquire()).restarted for _ in range(2)] == [True, False]


class ForgetsToNote(MemoryLeaseStore):
    """A store that is away when it should note that a restart was told."""

    away = 1

    async def settle_news(self, lease, **fields):
        if self.away and lease.placement.restarted:
            self.away -= 1
            raise StoreUnavailableError("The store is away.")
        await super().settle_news(lease, **fields)


async def test_a_restart_that_could_not_be_noted_as_told_is_noted_a_moment_later(new_world):
    world = new_world(ForgetsToNote)
    world.store._book.terms = dataclasses.replace(world.store._book.terms, creation_ms=60_000)
    await world.acquire()
    await end_processes(world)
    assert [(await world.acquire()).restarted for _ in range(3)] == [True, False, False]


async def test_a_restart_is_told_again_when_it_cannot_be_noted_for_long(new_world):
    world = new_world(ForgetsToNote)
    await world.acquire()
    await end_processes(world)
    world.store.away = 10**6
    assert [(await world.acquire()).restarted for _ in range(2)] == [True, True]
    world.store.away = 0


@pytest.mark.parametrize("apart", [-1, 1], ids=["older", "newer"])
async def test_a_stray_object_of_the_thread_is_not_in_the_way_of_a_restart(world, apart):
    first = await world.acquire()
    own = world.only_object()
    labels = dataclasses.replace(
        own.labels, generation=own.labels.generation + apart, sandbox_id="0" * 32
    )
    await end_processes(world)
    stray = await world.runtime.create(labels)
    async with asyncio.timeout(5):
        acquired = await world.acquire()
    assert (acquired.sandbox_id, acquired.restarted) == (first.sandbox_id, True)
    assert (await world.store.get(world.thread)).placement.uid == own.uid
    assert world.runtime.objects[stray.uid].labels == labels


async def test_a_stray_object_does_not_take_the_place_of_files_that_are_gone(world):
    first = await world.acquire()
    own = world.only_object()
    labels = dataclasses.replace(
        own.labels, generation=own.labels.generation - 1, sandbox_id="0" * 32
    )
    await end_processes(world)
    await world.runtime.create(labels)
    find = world.runtime.find

    async def lost_meanwhile(thread):
        world.runtime.objects.pop(own.uid, None)
        return await find(thread)

    world.runtime.find = lost_meanwhile
    acquired = await world.acquire()
    assert acquired.sandbox_id != first.sandbox_id
    assert not acquired.reused


@pytest.mark.finding(7)
@pytest.mark.promise(5)
async def test_a_worker_that_the_cleanup_claims_again_is_no_activity(new_world):
    clock = FakeClock()
    world = new_world(lambda terms: MemoryLeaseStore(terms, clock))
    await world.acquire()
    used_ms = (await world.store.get(world.thread)).used_ms
    await end_processes(world)
    world.runtime.stopped.clear()
    clock.advance(1000)
    lease = await world.store.get(world.thread)
    await world.store.suspect(lease)
    await world.cleanup().run()
    claimed = await world.store.get(world.thread)
    assert claimed.boot_id != lease.boot_id
    assert claimed.used_ms == used_ms
    assert (await world.acquire()).restarted
    assert (await world.store.get(world.thread)).used_ms > used_ms
