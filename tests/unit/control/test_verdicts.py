"""A sandbox is given up only when it is proved gone, and a verdict is about the process it judged."""

from __future__ import annotations

import asyncio
import dataclasses
from contextlib import suppress

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.errors import SandboxUnavailableError, StoreUnavailableError
from oneseek_sandbox.leases.store import Granted
from oneseek_sandbox.models import ReleaseRequest
from oneseek_sandbox.testing.scripted_worker import ScriptedWorker

pytestmark = [pytest.mark.promise(7, 8), pytest.mark.finding(1)]


async def replace_worker(world, *, address=True):
    """Put another process where the sandbox's worker was: same files, another boot id."""
    sandbox = world.only_object()
    await world.runtime.workers[sandbox.uid].__aexit__()
    await world.workers.close()
    worker = world.runtime.workers[sandbox.uid] = await ScriptedWorker().__aenter__()
    world.runtime.objects[sandbox.uid] = dataclasses.replace(sandbox, address=worker.address)
    if not address:
        lease = world.store._book.records[world.thread]
        lease.placement = dataclasses.replace(lease.placement, address=worker.address)
    return worker


@pytest.mark.parametrize("known", [True, False], ids=["known address", "new address"])
async def test_another_process_in_the_leases_own_sandbox_is_claimed_again(world, known):
    first = await world.acquire()
    sandbox = world.only_object()
    worker = await replace_worker(world, address=not known)
    again = await world.acquire()
    assert (again.sandbox_id, again.reused, again.restarted) == (first.sandbox_id, True, True)
    assert world.only_object().uid == sandbox.uid
    placement = (await world.store.get(world.thread)).placement
    assert (placement.boot_id, placement.address) == (worker.boot_id, worker.address)
    assert await world.store.doomed(10) == []


async def test_the_cleanup_claims_another_process_again_too(world):
    first = await world.acquire()
    worker = await replace_worker(world, address=False)
    await world.store.suspect(await world.store.get(world.thread))
    assert (await world.cleanup().run()).lost == 0
    assert (await world.store.get(world.thread)).placement.boot_id == worker.boot_id
    again = await world.acquire()
    assert (again.sandbox_id, again.restarted) == (first.sandbox_id, True)


async def test_a_verdict_about_an_earlier_process_is_void(world):
    await world.acquire()
    judged = await world.store.get(world.thread)
    await replace_worker(world)
    await world.acquire()
    outcome = await world.store.acquire(world.thread, attempt="late", lost=judged)
    assert isinstance(outcome, Granted)
    assert await world.store.lose(judged) is None
    assert await world.judge.restart(judged) is None


async def test_a_process_that_takes_no_token_of_ours_keeps_its_files(world):
    await world.acquire()
    sandbox = world.only_object()
    world.empty_store()

    async def conflict(call):
        await call.answer({"error": {"code": "claim_conflict", "message": "no"}}, 409)

    world.worker().scripts["/claim"] = conflict
    with pytest.raises(SandboxUnavailableError, match="another token key"):
        await world.acquire()
    assert world.only_object().uid == sandbox.uid
    await world.store.release(world.thread, sandbox_id=None)


async def test_a_restart_uses_the_token_that_the_lease_has_when_the_key_was_changed(world):
    await world.acquire()
    token = (await world.store.get(world.thread)).placement.token
    world.claims._token_key = TokenKey(b"another token key of the tests")
    worker = await replace_worker(world)
    assert (await world.acquire()).restarted
    assert worker.token == token


async def test_a_sandbox_labelled_newer_than_its_own_lease_is_restarted_above_it(world):
    first = await world.acquire()
    sandbox = world.only_object()
    newer = dataclasses.replace(sandbox.labels, generation=first.generation + 1000)
    await replace_worker(world)
    world.runtime.objects[sandbox.uid] = dataclasses.replace(world.only_object(), labels=newer)
    async with asyncio.timeout(5):
        again = await world.acquire()
    assert (again.sandbox_id, again.restarted) == (first.sandbox_id, True)
    assert again.generation > newer.generation


async def test_a_sandbox_labelled_by_a_time_that_the_store_has_forgotten_is_claimed_again(world):
    first = await world.acquire()
    sandbox = world.only_object()
    before = dataclasses.replace(world.store._book.records[world.thread])
    world.empty_store()
    adopted = await world.acquire()
    assert adopted.sandbox_id != first.sandbox_id
    # The store goes back; the worker has been claimed by a greater generation since.
    book = world.store._book
    book.records = {world.thread: before}
    book.threads = {before.sandbox_id: world.thread}
    await replace_worker(world)
    again = await world.acquire()
    assert again.sandbox_id == first.sandbox_id
    assert again.generation > adopted.generation
    assert world.only_object().uid == sandbox.uid


async def test_a_sandbox_made_after_a_backup_is_adopted_where_that_of_the_backup_is_gone(world):
    """Found by a simulated schedule (seed 4884): the sweep ended it, as its lease named another."""
    first = await world.acquire()
    before = dataclasses.replace(world.store._book.records[world.thread])
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    await world.acquire()
    sandbox = world.only_object()
    book = world.store._book
    book.records, book.threads = {world.thread: before}, {first.sandbox_id: world.thread}
    done = await world.cleanup().run()
    assert (done.lost, done.adopted, done.orphans) == (1, 1, 0)
    assert world.only_object().uid == sandbox.uid
    assert (await world.store.get(world.thread)).placement.uid == sandbox.uid


@pytest.mark.promise(8)
async def test_a_sandbox_labelled_newer_than_the_live_lease_of_another_is_ended(world):
    await world.acquire()
    lease = await world.store.get(world.thread)
    labels = dataclasses.replace(
        world.only_object().labels, generation=lease.generation + 1000, sandbox_id="0" * 32
    )
    stray = await world.runtime.create(labels)
    await world.runtime.mark_claimed(stray)
    assert (await world.cleanup().run()).orphans == 1
    assert list(world.runtime.objects) == [lease.placement.uid]


@pytest.mark.promise(6)
async def test_what_is_labelled_newer_does_not_come_back_after_a_release(world):
    await world.acquire()
    lease = await world.store.get(world.thread)
    labels = dataclasses.replace(
        world.only_object().labels, generation=lease.generation + 1, sandbox_id="0" * 32
    )
    stray = await world.runtime.create(labels)
    await world.runtime.mark_claimed(stray)
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    assert not (await world.acquire()).reused
    assert stray.uid not in world.runtime.objects


@pytest.mark.finding(3)
@pytest.mark.promise(3)
@pytest.mark.parametrize("refused", [True, False], ids=["renewal refused", "cancelled"])
async def test_a_creator_whose_commit_is_answered_late_leaves_the_sandbox_alone(world, refused):
    commit, committed = world.store.commit, asyncio.Event()

    async def late_answer(*args, **fields):
        await commit(*args, **fields)
        committed.set()
        await asyncio.Event().wait()

    world.store.commit = late_answer
    acquiring = asyncio.create_task(world.acquire())
    await committed.wait()
    if refused:
        with suppress(TimeoutError):
            async with asyncio.timeout(3 * world.creator._creation_ms / 1000):
                await asyncio.shield(acquiring)
    await world.acquisition._creating.close(within_seconds=0)
    await asyncio.gather(acquiring, return_exceptions=True)
    lease = await world.store.get(world.thread)
    assert world.only_object().uid == lease.placement.uid
    assert await world.store.doomed(10) == []


@pytest.mark.finding(3)
@pytest.mark.promise(8)
@pytest.mark.parametrize("lost", ["the answer", "the renewal"])
async def test_a_creator_whose_commit_a_store_forgot_leaves_the_sandbox_to_be_adopted(world, lost):
    commit, committed, asked = world.store.commit, asyncio.Event(), 0

    async def forgotten(*args, **fields):
        nonlocal asked
        asked += 1
        lease = await commit(*args, **fields)
        if asked == 1:
            world.empty_store()
            committed.set()
            if lost == "the renewal":
                await asyncio.Event().wait()
            raise StoreUnavailableError("The store was away.")
        return lease

    world.store.commit = forgotten
    acquiring = asyncio.create_task(world.acquire())
    await committed.wait()
    uid = world.only_object().uid
    async with asyncio.timeout(30):
        await asyncio.gather(acquiring, return_exceptions=True)
    assert world.only_object().uid == uid
    await world.acquire()
    assert world.only_object().uid == uid


@pytest.mark.finding(3)
async def test_a_paused_adopter_ends_nothing_when_its_creation_was_forgotten(world):
    first = await world.acquire()
    sandbox = world.only_object()
    world.empty_store()
    claim, claiming, go_on = world.workers.claim, asyncio.Event(), asyncio.Event()

    async def slow_claim(*args, **fields):
        claiming.set()
        await go_on.wait()
        return await claim(*args, **fields)

    world.workers.claim = slow_claim
    renew = world.store.renew
    world.store.renew = lambda *args, **fields: asyncio.sleep(0)  # as if it were paused
    acquiring = asyncio.create_task(world.acquire())
    await claiming.wait()
    async with asyncio.timeout(10):
        while await world.store.get(world.thread):
            await world.store.expire(10)
            await asyncio.sleep(0.01)
    world.store.renew, world.workers.claim = renew, claim
    go_on.set()
    again = await acquiring
    assert world.only_object().uid == sandbox.uid
    assert again.sandbox_id != first.sandbox_id
