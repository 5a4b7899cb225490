"""What was released does not come back, however the release meets an acquire."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.errors import CreationLostError, SandboxLostError
from oneseek_sandbox.models import ReleaseRequest
from oneseek_sandbox.runtimes.runtime import Labels


async def begin_an_adoption(world):
    """Adopt the thread's sandbox as far as its worker's claim, which waits for the event."""
    creation = await world.begin("adopting")
    claiming, go_on = asyncio.Event(), asyncio.Event()
    claim = world.workers.claim

    async def slow_claim(*args, **fields):
        if fields["generation"] == creation.generation:
            claiming.set()
            await go_on.wait()
        return await claim(*args, **fields)

    world.workers.claim = slow_claim
    world.creator._creation_ms = 10**6  # it does not renew, so nothing tells it of the release
    adopting = asyncio.create_task(world.creator.create(creation))
    await claiming.wait()
    return adopting, go_on


@pytest.mark.promise(6)
async def test_a_sandbox_released_while_it_is_adopted_is_not_found_by_the_next_acquire(world):
    await world.acquire()
    old = world.only_object().uid
    world.empty_store()
    adopting, go_on = await begin_an_adoption(world)
    assert world.only_object().labels.generation > 0
    released = await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    assert released.released
    acquired = await world.acquire()
    assert not acquired.reused
    assert world.only_object().uid != old
    go_on.set()
    with pytest.raises((CreationLostError, SandboxLostError)):
        await adopting
    assert world.only_object().labels.sandbox_id == acquired.sandbox_id
    assert (await world.acquire()).sandbox_id == acquired.sandbox_id


@pytest.mark.promise(6)
async def test_a_release_ends_what_an_older_failure_had_left_behind(world):
    await world.acquire()
    left = world.only_object()
    await world.store.lose(await world.store.get(world.thread))
    await world.store.forget(left.uid)
    world.runtime.objects.clear()
    await world.acquire()
    world.runtime.objects[left.uid] = left
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    acquired = await world.acquire()
    assert not acquired.reused
    assert world.only_object().labels.sandbox_id == acquired.sandbox_id


@pytest.mark.promise(8)
async def test_a_sandbox_younger_than_the_last_release_the_store_remembers_is_adopted(world):
    """A store that failed over may remember an old release and not the lease after it."""
    await world.acquire()
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    creation = await world.begin("forgotten")
    labels = Labels(creation.thread, creation.generation + 1, creation.idle_ms, creation.sandbox_id)
    sandbox = await world.runtime.create(labels)
    await world.runtime.mark_claimed(sandbox)
    await world.store.abandon(creation)
    assert (await world.acquire()).reused
    assert world.only_object().uid == sandbox.uid
