"""What is over is ended by whoever hears of it: nobody leaves it to whom it was first answered."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxExpiredError
from oneseek_sandbox.models import ReleaseRequest
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore

pytestmark = pytest.mark.finding(6)


async def lose_an_answer(world):
    """Release in the store, where it takes effect, and let nobody hear of it."""
    return await world.store.release(world.thread, sandbox_id=None)


@pytest.mark.promise(4, 6)
@pytest.mark.parametrize("by", ["thread_id", "sandbox_id"])
async def test_a_release_that_is_told_already_ends_what_its_first_try_had_doomed(world, by):
    acquired = await world.acquire()
    await lose_an_answer(world)
    request = ReleaseRequest(**{by: getattr(acquired, by)})
    released = await world.provisioner.release(request, world.caller)
    assert released.already_released
    assert world.runtime.objects == {}
    assert await world.store.doomed(10) == []


@pytest.mark.promise(4, 6)
async def test_a_release_of_what_has_expired_ends_it(new_world):
    clock = FakeClock()
    world = new_world(lambda terms: MemoryLeaseStore(terms, clock))
    acquired = await world.acquire(idle_timeout_seconds=1)
    clock.advance(2000)
    request = ReleaseRequest(sandbox_id=acquired.sandbox_id)
    with pytest.raises(SandboxExpiredError):
        await world.provisioner.release(request, world.caller)
    assert world.runtime.objects == {}
    assert await world.store.doomed(10) == []


@pytest.mark.promise(1, 2, 4)
async def test_an_acquire_ends_what_was_released_before_it_hands_out_another(world):
    first = await world.acquire()
    await lose_an_answer(world)
    second = await world.acquire()
    assert (second.reused, second.sandbox_id == first.sandbox_id) == (False, False)
    assert world.only_object().labels.sandbox_id == second.sandbox_id
    assert await world.store.doomed(10) == []


@pytest.mark.promise(1, 2, 4)
async def test_an_acquire_ends_what_has_expired_before_it_hands_out_another(new_world):
    clock = FakeClock()
    world = new_world(lambda terms: MemoryLeaseStore(terms, clock))
    await world.acquire(idle_timeout_seconds=1)
    clock.advance(2000)
    acquired = await world.acquire()
    assert world.only_object().labels.sandbox_id == acquired.sandbox_id


@pytest.mark.promise(9)
@pytest.mark.parametrize("failure", ["not proved", "away"])
async def test_what_cannot_be_ended_stays_doomed_and_holds_up_no_acquire(world, failure):
    old = (await world.acquire()).sandbox_id
    await lose_an_answer(world)
    stop = world.runtime.stop

    async def fail(*args, **fields):
        if failure == "away":
            raise RuntimeUnavailableError("It does not answer.")
        return False

    world.runtime.stop = fail
    assert not (await world.acquire()).reused
    assert [entry.sandbox_id for entry in await world.store.doomed(10)] == [old]
    world.runtime.stop = stop


@pytest.mark.promise(4, 6)
async def test_a_release_whose_caller_leaves_goes_on_to_its_end(world):
    await world.acquire()
    stop, stopping, go_on = world.runtime.stop, asyncio.Event(), asyncio.Event()

    async def slow_stop(*args, **fields):
        stopping.set()
        await go_on.wait()
        return await stop(*args, **fields)

    world.runtime.stop = slow_stop
    releasing = asyncio.create_task(
        world.provisioner.release(ReleaseRequest(thread_id="t"), world.caller)
    )
    await stopping.wait()
    releasing.cancel()
    await asyncio.gather(releasing, return_exceptions=True)
    go_on.set()
    await world.provisioner.close()
    assert world.runtime.objects == {}
    assert await world.store.doomed(10) == []
