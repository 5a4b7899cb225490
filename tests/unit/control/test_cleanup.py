"""A sweep never makes a sandbox that nobody asked for, and no sandbox can stop it."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from oneseek_sandbox.control import ending
from oneseek_sandbox.leases.keys import thread_tag
from oneseek_sandbox.leases.script_replies import read_listed
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.testing.scripted_worker import http_answer


@pytest.mark.promise(6)
async def test_a_release_during_a_sweep_does_not_bring_the_thread_back(world):
    await world.acquire()
    leases = world.store.leases

    async def release_meanwhile():
        released = await world.store.release(world.thread, sandbox_id=None)
        await world.runtime.stop(released.doomed.uid, released.doomed.name)
        await world.store.forget(released.doomed.uid)
        return await leases()

    world.store.leases = release_meanwhile
    done = await world.cleanup().run()
    assert done.adopted == 0
    assert world.runtime.objects == {}
    assert await world.store.get(world.thread) is None


@pytest.mark.promise(8)
async def test_a_sweep_adopts_what_has_no_lease(world):
    await world.acquire()
    world.empty_store()
    assert (await world.cleanup().run()).adopted == 1
    assert (await world.acquire()).reused


@pytest.mark.parametrize(
    "answer",
    [
        http_answer(b'{"error": {"code": "invalid_request", "message": "x"}}', status=400),
        http_answer(b'{"error": {"code": "file_not_found", "message": "x"}}', status=404),
        http_answer(b"not json"),
        b"not http\r\n\r\n",
    ],
)
async def test_a_hostile_sandbox_under_suspicion_does_not_stop_the_sweep(world, answer):
    await world.acquire()
    await world.store.suspect(await world.store.get(world.thread))

    async def health(call):
        await call.send(answer)

    world.worker().scripts["/health"] = health
    done = await world.cleanup().run()
    assert done.lost == 0


@pytest.mark.promise(9)
async def test_creations_that_lapsed_do_not_hold_up_what_expired(new_world):
    clock = FakeClock()
    world = new_world(lambda terms: MemoryLeaseStore(terms, clock))
    await world.acquire(idle_timeout_seconds=1)
    for number in range(250):
        await world.store.acquire(Thread("default", f"lapsing {number}"), attempt="a")
    clock.advance(2000)
    assert (await world.cleanup().run()).expired == 1
    assert await world.store.leases() == []
    assert world.runtime.objects == {}


@pytest.mark.promise(9)
async def test_one_round_ends_when_leases_expire_as_fast_as_it_ends_them(world, monkeypatch):
    expire, asked = world.store.expire, []

    async def always_more(limit):
        asked.append(limit)
        await asyncio.sleep(0)
        return dataclasses.replace(await expire(limit), more=True)

    monkeypatch.setattr(world.store, "expire", always_more)
    async with asyncio.timeout(5):
        await world.cleanup().run()
    assert len(asked) > 1


async def _expired(world, clock, count):
    """Leave so many sandboxes whose leases are over."""
    for number in range(count):
        await world.acquire(f"thread {number}", idle_timeout_seconds=1)
    clock.advance(2000)


@pytest.fixture
def timed(new_world):
    """A world whose clock the test moves."""
    clock = FakeClock()
    return new_world(lambda terms: MemoryLeaseStore(terms, clock)), clock


@pytest.mark.finding(16)
@pytest.mark.promise(9)
async def test_what_cannot_be_proved_gone_delays_nothing_that_ended_later(timed):
    world, clock = timed
    await _expired(world, clock, 120)
    stop, stuck = world.runtime.stop, set(world.runtime.objects)

    async def stop_others(uid, name, **fields):
        return False if uid in stuck else await stop(uid, name, **fields)

    world.runtime.stop = stop_others
    await world.cleanup().run()
    await world.acquire("new", idle_timeout_seconds=1)
    clock.advance(60_000)
    assert (await world.cleanup().run()).expired == 1
    assert set(world.runtime.objects) == stuck
    world.runtime.stop = stop
    clock.advance(3_600_000)
    await world.cleanup().run()
    assert world.runtime.objects == {}
    assert await world.store.doomed(1) == []


@pytest.mark.finding(16)
@pytest.mark.promise(9)
async def test_one_round_asks_all_that_expired_to_end(timed):
    world, clock = timed
    await _expired(world, clock, 350)
    assert (await world.cleanup().run()).expired == 350
    assert world.runtime.objects == {}


@pytest.mark.finding(16)
async def test_a_sandbox_that_cannot_be_asked_to_end_does_not_hold_up_a_round(timed, monkeypatch):
    monkeypatch.setattr(ending, "_STOP_SECONDS", 0.05)
    world, clock = timed
    await _expired(world, clock, 2)
    stop, hangs = world.runtime.stop, next(iter(world.runtime.objects))

    async def stop_or_hang(uid, name, **fields):
        await asyncio.sleep(3600 if uid == hangs else 0)
        return await stop(uid, name, **fields)

    world.runtime.stop = stop_or_hang
    async with asyncio.timeout(20):
        await world.cleanup().run()
    assert set(world.runtime.objects) == {hangs}
    assert [entry.uid for entry in await world.store.doomed(10)] == [hangs]


@pytest.mark.finding(16)
@pytest.mark.promise(9)
async def test_sandboxes_that_do_not_answer_hold_up_no_deletion_and_not_each_other(timed):
    world, clock = timed
    asked, several = 0, asyncio.Event()

    async def silent(call):
        nonlocal asked
        asked += 1
        if asked == 8:
            several.set()
        await asyncio.sleep(3600)

    for number in range(10):
        thread = Thread("default", f"silent {number}")
        await world.acquire(thread.thread_id)
        await world.store.suspect(await world.store.get(thread))
    for worker in world.runtime.workers.values():
        worker.scripts["/health"] = silent
    await world.acquire(idle_timeout_seconds=1)
    clock.advance(2000)
    cleaning = asyncio.create_task(world.cleanup().run())
    async with asyncio.timeout(4):  # before the first of them is given up
        await several.wait()
    assert len(world.runtime.objects) == 10
    cleaning.cancel()
    await asyncio.gather(cleaning, return_exceptions=True)


@pytest.mark.promise(6)
async def test_a_sweep_does_not_bring_back_what_was_released_while_it_was_adopted(world):
    await world.acquire()
    world.empty_store()
    creation = await world.begin("of one that dies")
    await world.runtime.adopt(
        world.only_object(),
        Labels(creation.thread, creation.generation, creation.idle_ms, creation.sandbox_id),
    )
    await world.store.release(world.thread, sandbox_id=None)
    assert (await world.cleanup().run()).adopted == 0
    assert world.runtime.objects == {}
    assert await world.store.get(world.thread) is None


async def test_an_error_that_nobody_meant_stops_no_other_of_a_round(timed):
    world, clock = timed
    await _expired(world, clock, 20)
    stop, broken = world.runtime.stop, next(iter(world.runtime.objects))

    async def stop_or_break(uid, name, **fields):
        if uid == broken:
            raise ZeroDivisionError
        await asyncio.sleep(0.01)
        return await stop(uid, name, **fields)

    world.runtime.stop = stop_or_break
    with pytest.raises(ZeroDivisionError):
        await world.cleanup().run()
    assert list(world.runtime.objects) == [broken]


@pytest.mark.promise(8)
async def test_a_sweep_leaves_alone_what_a_later_version_holds(world):
    """Its lease cannot be read, so nothing is known of it but that it is there."""
    creation = await world.begin()
    labels = Labels(world.thread, creation.generation, creation.idle_ms, creation.sandbox_id)
    await world.runtime.create(dataclasses.replace(labels, created_ms=1))
    await world.store.abandon(creation)

    async def leases():
        known = await world.begin("b")
        unknown = read_listed(thread_tag(known.thread), ["unknown"])
        assert unknown.thread == world.thread
        return [unknown]

    world.store.leases = leases
    done = await world.cleanup().run()
    assert (done.adopted, done.orphans, done.lost) == (0, 0, 0)
    assert len(world.runtime.objects) == 1
    assert (await world.provisioner.list_sandboxes(world.caller, label={})).sandboxes == []
