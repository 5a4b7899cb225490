"""After the store was emptied a release ends what the runtime has, and adoption keeps what was set."""

from __future__ import annotations

import asyncio
import dataclasses

import pytest

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.errors import LeaseNotFoundError
from oneseek_sandbox.lasting import Shared
from oneseek_sandbox.models import ReleaseRequest

pytestmark = [pytest.mark.promise(6, 8), pytest.mark.finding(6)]


@pytest.mark.parametrize("by", ["thread_id", "sandbox_id"])
async def test_a_release_ends_a_sandbox_that_the_store_has_forgotten(world, by):
    first = await world.acquire()
    world.empty_store()
    request = ReleaseRequest(**{by: getattr(first, by)})
    released = await world.provisioner.release(request, world.caller)
    assert (released.released, released.already_released) == (True, False)
    assert world.runtime.objects == {}
    again = await world.provisioner.release(request, world.caller)
    assert again.already_released
    assert not (await world.acquire()).reused


async def test_what_nobody_knows_is_not_found(world):
    await world.acquire()
    for request in (ReleaseRequest(thread_id="other"), ReleaseRequest(sandbox_id="0" * 32)):
        with pytest.raises(LeaseNotFoundError):
            await world.provisioner.release(request, world.caller)
    assert len(world.runtime.objects) == 1


async def test_a_bound_key_ends_no_foreign_sandbox_that_the_store_has_forgotten(world):
    first = await world.acquire()
    world.empty_store()
    foreigner = Caller("foreigner", frozenset({"elsewhere"}))
    with pytest.raises(LeaseNotFoundError):
        await world.provisioner.release(ReleaseRequest(sandbox_id=first.sandbox_id), foreigner)
    assert len(world.runtime.objects) == 1


async def test_a_sandbox_that_could_not_be_ended_does_not_come_back(world):
    await world.acquire()
    world.empty_store()
    stop = world.runtime.stop

    async def fail(*args, **fields):
        return False

    world.runtime.stop = fail
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    world.runtime.stop = stop
    assert not (await world.acquire()).reused
    assert len(world.runtime.objects) == 1


@pytest.mark.parametrize("adopter", ["acquire", "cleanup"])
async def test_an_adopted_sandbox_keeps_its_idle_timeout_and_its_age(new_world, adopter):
    world = new_world()
    world.store._book.terms = dataclasses.replace(world.store._book.terms, lifetime_ms=60_000)
    await world.acquire(idle_timeout_seconds=77)
    uid, sandbox = next(iter(world.runtime.objects.items()))
    made = (await world.store.get(world.thread)).created_ms - 1000
    labels = dataclasses.replace(sandbox.labels, created_ms=made)
    world.runtime.objects[uid] = dataclasses.replace(sandbox, labels=labels)
    world.empty_store()
    if adopter == "acquire":
        await world.acquire()
    else:
        await world.cleanup().run()
    lease = await world.store.get(world.thread)
    assert (lease.idle_ms, lease.created_ms, lease.ends_ms) == (77_000, made, made + 60_000)


async def test_an_acquire_that_names_an_idle_timeout_sets_it_at_an_adoption(world):
    await world.acquire(idle_timeout_seconds=77)
    world.empty_store()
    await world.acquire(idle_timeout_seconds=88)
    assert (await world.store.get(world.thread)).idle_ms == 88_000


async def test_a_release_during_an_adoption_ends_what_was_being_adopted(world):
    await world.acquire()
    world.empty_store()
    claiming, go_on = world.hold_claims()
    acquiring = asyncio.create_task(world.acquire())
    await claiming.wait()
    old = world.only_object().uid
    await world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    assert world.runtime.objects == {}
    go_on.set()
    assert not (await acquiring).reused
    assert old not in world.runtime.objects


@pytest.mark.parametrize("by", ["thread_id", "sandbox_id"])
async def test_what_is_labelled_ahead_of_the_clock_does_not_come_back_after_a_release(world, by):
    """The store was emptied, and its clock went back since the sandbox was labelled."""
    first = await world.acquire()
    uid, sandbox = next(iter(world.runtime.objects.items()))
    ahead = dataclasses.replace(sandbox.labels, generation=10**15)
    world.runtime.objects[uid] = dataclasses.replace(sandbox, labels=ahead)
    world.empty_store()
    stop = world.runtime.stop

    async def fail(*args, **fields):
        return False

    world.runtime.stop = fail
    request = ReleaseRequest(**{by: getattr(first, by)})
    await world.provisioner.release(request, world.caller)
    world.runtime.stop = stop
    assert not (await world.acquire()).reused
    assert uid not in world.runtime.objects


async def test_releases_of_what_nobody_knows_share_one_look_at_all_there_is(world):
    await world.acquire()
    listed, looks, go_on = world.runtime.list, 0, asyncio.Event()

    async def slow_list():
        nonlocal looks
        looks += 1
        await go_on.wait()
        return await listed()

    world.acquisition.releases._all = Shared(slow_list)

    async def release(number):
        request = ReleaseRequest(sandbox_id=f"{number:032x}")
        with pytest.raises(LeaseNotFoundError):
            await world.provisioner.release(request, world.caller)

    releases = [asyncio.create_task(release(number)) for number in range(50)]
    while looks == 0:
        await asyncio.sleep(0)
    releases += [asyncio.create_task(release(number)) for number in range(50, 100)]
    for _ in range(100):  # until all of them ask for a look
        await asyncio.sleep(0)
    go_on.set()
    await asyncio.gather(*releases)
    assert looks == 2
