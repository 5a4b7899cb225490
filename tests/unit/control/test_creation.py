"""A creator that fails half way takes nothing from anybody."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from oneseek_sandbox.errors import (
    CreationLostError,
    RuntimeUnavailableError,
    SandboxStartError,
    SandboxUnavailableError,
    StoreUnavailableError,
    UnavailableError,
)
from oneseek_sandbox.leases.store import Resolved
from oneseek_sandbox.models import ReleaseRequest
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.testing.scripted_worker import ScriptedWorker


class LosesAnswers(MemoryLeaseStore):
    """A store whose answer to the first commit is lost on its way."""

    lost = 1

    async def commit(self, creation, placement, **fields):
        lease = await super().commit(creation, placement, **fields)
        if self.lost:
            self.lost -= 1
            raise StoreUnavailableError("The connection broke.")
        return lease


class IsAway(MemoryLeaseStore):
    """A store that a test takes away."""

    away = False

    async def commit(self, creation, placement, **fields):
        if self.away:
            raise StoreUnavailableError("The store is away.")
        return await super().commit(creation, placement, **fields)


def fail(runtime, method, error, *, times=1):
    """Let a method of the runtime fail some times."""
    original = getattr(runtime, method)
    left = [times]

    async def failing(*args, **fields):
        if left[0]:
            left[0] -= 1
            raise error
        return await original(*args, **fields)

    setattr(runtime, method, failing)


@pytest.mark.finding(21)
@pytest.mark.parametrize("there", ["nobody", "another sandbox"])
async def test_a_sandbox_that_gets_another_address_while_it_starts_is_claimed_at_that(world, there):
    create = world.runtime.create
    async with ScriptedWorker(uid="another sandbox") as other:
        stale = "" if there == "nobody" else other.address

        async def outdated(labels):
            return dataclasses.replace(await create(labels), address=stale)

        world.runtime.create = outdated
        acquired = await world.acquire()
    lease = await world.store.get(world.thread)
    assert lease.sandbox_id == acquired.sandbox_id
    assert lease.placement.address == world.only_object().address
    assert set(other.paths) <= {"/proof"}


@pytest.mark.promise(2)
async def test_a_commit_whose_answer_was_lost_is_asked_again(new_world):
    world = new_world(LosesAnswers)
    acquired = await world.acquire()
    assert world.only_object().labels.sandbox_id == acquired.sandbox_id
    assert (await world.acquire()).sandbox_id == acquired.sandbox_id


@pytest.mark.promise(8)
async def test_a_store_that_stays_away_at_the_commit_costs_no_sandbox(new_world):
    world = new_world(IsAway)
    await world.acquire()
    sandbox = world.only_object()
    world.empty_store()
    world.store.away = True
    with pytest.raises(StoreUnavailableError):
        await world.acquire()
    assert world.only_object().uid == sandbox.uid
    world.store.away = False
    assert (await world.acquire()).reused
    assert world.only_object().uid == sandbox.uid


@pytest.mark.promise(2, 8)
async def test_who_loses_an_adoption_leaves_the_files_to_the_successor(world):
    await world.acquire()
    sandbox = world.only_object()
    world.empty_store()
    slow = await world.begin("slow")
    claiming, go_on = asyncio.Event(), asyncio.Event()
    claim = world.workers.claim

    async def slow_claim(*args, **fields):
        claiming.set()
        await go_on.wait()
        return await claim(*args, **fields)

    world.workers.claim = slow_claim
    world.creator._creation_ms = 10**6  # it does not renew: its process was stopped for a while
    losing = asyncio.create_task(world.creator.create(slow))
    await claiming.wait()
    await asyncio.sleep(0.35)  # the time of its creation lease
    successor = await world.begin("successor")
    assert successor.generation > slow.generation
    go_on.set()
    with pytest.raises(CreationLostError):
        await losing
    assert world.only_object().uid == sandbox.uid
    created = await world.creator.create(successor)
    assert created.found
    assert created.lease.placement.uid == sandbox.uid


@pytest.mark.promise(6)
async def test_a_thread_released_while_its_worker_is_claimed_leaves_nothing(world):
    claimed = asyncio.Event()
    mark_claimed = world.runtime.mark_claimed

    async def slow_mark(sandbox):
        await mark_claimed(sandbox)
        claimed.set()
        await asyncio.sleep(5)

    world.runtime.mark_claimed = slow_mark
    creating = asyncio.create_task(world.creator.create(await world.begin()))
    await claimed.wait()
    await world.store.release(world.thread, sandbox_id=None)
    with pytest.raises(CreationLostError):
        await creating
    assert world.runtime.objects == {}


@pytest.mark.promise(7)
async def test_a_restart_that_fails_for_a_moment_keeps_lease_and_files(world):
    acquired = await world.acquire()
    sandbox = world.only_object()
    world.runtime.stopped.add(sandbox.uid)
    await world.runtime.workers[sandbox.uid].__aexit__()
    fail(world.runtime, "adopt", RuntimeUnavailableError("The runtime does not answer."))
    with pytest.raises(UnavailableError):
        await world.acquire()
    assert world.only_object().uid == sandbox.uid
    assert await world.store.resolve(acquired.sandbox_id) == Resolved(world.thread)


@pytest.mark.promise(8)
async def test_an_adoption_that_fails_for_a_moment_keeps_the_files(world):
    await world.acquire()
    sandbox = world.only_object()
    world.empty_store()
    fail(world.runtime, "mark_claimed", RuntimeUnavailableError("The runtime does not answer."))
    with pytest.raises(RuntimeUnavailableError):
        await world.acquire()
    assert world.only_object().uid == sandbox.uid
    assert (await world.acquire()).reused


async def test_an_adopted_sandbox_that_vanishes_is_replaced_in_the_same_acquire(world):
    await world.acquire()
    sandbox = world.only_object()
    world.empty_store()
    mark_claimed = world.runtime.mark_claimed

    async def vanishing(found):
        if found.uid == sandbox.uid:
            world.runtime.objects.pop(found.uid, None)
        await mark_claimed(found)

    world.runtime.mark_claimed = vanishing
    acquired = await world.acquire()
    assert not acquired.reused
    assert world.only_object().labels.sandbox_id == acquired.sandbox_id


async def test_a_creation_that_hangs_does_not_hold_the_stop(world):
    started = asyncio.Event()

    async def hanging(_labels):
        started.set()
        await asyncio.sleep(3600)

    world.runtime.create = hanging
    acquiring = asyncio.create_task(world.acquire())
    await started.wait()
    async with asyncio.timeout(5):
        await world.acquisition.close(within_seconds=0.1)
    with pytest.raises((CreationLostError, SandboxUnavailableError, asyncio.CancelledError)):
        await acquiring


async def refuse_claims(call):
    body = {"error": {"code": "claim_conflict", "message": "It was claimed with another token."}}
    await call.answer(body, status=409)


async def another_answers(world):
    """Leave an object of the thread that nobody marked as claimed, and whose worker is another's."""
    creation = await world.begin("died")
    labels = Labels(world.thread, creation.generation, creation.idle_ms, creation.sandbox_id)
    sandbox = await world.runtime.create(labels)
    world.runtime.workers[sandbox.uid].scripts["/claim"] = refuse_claims
    await world.store.abandon(creation)
    return sandbox


async def test_a_sandbox_of_another_that_cannot_be_ended_does_not_keep_an_acquire_for_ever(world):
    left = await another_answers(world)
    stop = world.runtime.stop

    async def unproved(*args, **fields):
        return False

    world.runtime.stop = unproved
    with pytest.raises(SandboxUnavailableError, match="Try again"):
        await world.acquire()
    assert not (await world.acquire()).reused
    world.runtime.stop = stop
    await world.cleanup().run()
    assert left.uid not in world.runtime.objects


async def test_a_sandbox_of_another_is_ended_and_the_next_taken(world):
    left = await another_answers(world)
    await world.acquire()
    assert world.only_object().uid != left.uid


async def test_an_acquire_gives_up_when_every_new_sandbox_is_anothers(world):
    create = world.runtime.create

    async def anothers(labels):
        sandbox = await create(labels)
        world.runtime.workers[sandbox.uid].scripts["/claim"] = refuse_claims
        return sandbox

    world.runtime.create = anothers
    with pytest.raises(SandboxStartError):
        await world.acquire()
    assert world.runtime.objects == {}


@pytest.mark.finding(1)
@pytest.mark.promise(7, 8)
@pytest.mark.parametrize("by", ["restart", "adoption"])
async def test_files_behind_a_damaged_marker_are_kept_until_somebody_gives_them_up(world, by):
    first = await world.acquire()
    sandbox = world.only_object()
    lease = await world.store.get(world.thread)

    async def restarted(call):
        body = {"error": {"code": "restarted", "message": "It was started again by itself."}}
        await call.answer(body, status=410)

    world.worker().scripts.update({"/claim": restarted, "/health": restarted})
    await world.workers.close()
    if by == "adoption":
        world.empty_store()
    else:
        await world.store.suspect(lease)
    for _ in range(2):
        with pytest.raises(SandboxUnavailableError, match="release the thread"):
            await world.acquire()
        assert world.only_object().uid == sandbox.uid
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    assert world.runtime.objects == {}
    assert (await world.acquire()).sandbox_id != first.sandbox_id
