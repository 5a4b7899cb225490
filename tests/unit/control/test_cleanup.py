"""A sweep never makes a sandbox that nobody asked for, and no sandbox can stop it."""

from __future__ import annotations

import pytest

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
