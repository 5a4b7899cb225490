"""What goes wrong in a simulated run, as functions of its world."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from random import Random
from typing import Any, Final

from tests.faults.simulation.world import World

__all__ = ["Fault", "empty_store", "some_faults"]

Fault = Callable[[World], Any]


def some_faults(chance: Random) -> list[Fault]:
    """Choose which faults a schedule may have: few kinds each, so that one is seen by itself."""
    return chance.sample(_FAULTS, chance.choice((0, 1, 1, 2, 2, 3)))


async def _kill_server(world: World) -> None:
    world.recorder.fault("server_killed")
    world.replace(world.chance.choice(world.servers))


async def _pause_server(world: World) -> None:
    server = world.chance.choice(world.servers)
    if server.process.state != "running":
        return
    world.recorder.fault("server_paused")
    server.process.pause()
    seconds = world.chance.choice((0.1, 1, 12, 30, 90))

    async def resume() -> None:
        await asyncio.sleep(seconds * world.chance.random())
        if server.process.state == "paused":
            server.process.resume()

    world.background.append(asyncio.ensure_future(resume()))


async def _lose_store_answers(world: World) -> None:
    world.recorder.fault("store_answer_lost")
    await _bad_weather(world, "store", answer_lost=0.15, twice=0.3, late=0.1, slow=0.2, lost=0.1)


async def _store_away(world: World) -> None:
    world.recorder.fault("store_away")
    await _bad_weather(world, "store", away=True)


async def _runtime_away(world: World) -> None:
    world.recorder.fault("runtime_away")
    await _bad_weather(world, "runtime", answer_lost=0.2, late=0.1, slow=0.4, lost=0.2)


async def _cut_workers(world: World) -> None:
    world.recorder.fault("caller_left")
    await _bad_weather(world, "workers", answer_lost=0.2, slow=0.2, lost=0.2)


async def _bad_weather(world: World, where: str, **values: Any) -> None:
    weather = world.weather[where]
    kinds = world.chance.sample(sorted(values), world.chance.randint(1, len(values)))
    for kind in kinds:
        setattr(weather, kind, values[kind])
    await asyncio.sleep(world.chance.expovariate(1 / 8))
    weather.clear()


async def empty_store(world: World) -> None:
    world.recorder.fault("store_emptied")
    world.empty_store()


async def _roll_back_store(world: World) -> None:
    world.recorder.fault("store_rolled_back", back_ms=world.roll_back_store())


async def _jump_clock(world: World) -> None:
    by_ms = world.chance.choice((-700_000, -5000, 1000, 90_000, 700_000))
    world.recorder.fault("clock_jumped", by_ms=by_ms)
    world.jump_clock(by_ms)


async def _kill_worker(world: World) -> None:
    if sandbox := _some_sandbox(world):
        world.recorder.fault("worker_died", thread=sandbox.labels.thread.thread_id)
        world.runtime.kill_worker(sandbox.uid)


async def _lose_sandbox(world: World) -> None:
    if sandbox := _some_sandbox(world):
        world.recorder.fault("sandbox_gone", thread=sandbox.labels.thread.thread_id)
        world.runtime.lose(sandbox.uid)


def _some_sandbox(world: World) -> Any:
    found = [o for o in world.runtime.objects.values() if o.labels]
    return world.chance.choice(found) if found else None


_FAULTS: Final[list[Fault]] = [
    _kill_server,
    _pause_server,
    _lose_store_answers,
    _store_away,
    _runtime_away,
    _cut_workers,
    empty_store,
    _roll_back_store,
    _jump_clock,
    _kill_worker,
    _lose_sandbox,
]
