"""One seeded run: callers at work, faults among them, then quiet, and what is left is counted."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any, Final

from tests.faults.checker import Finding, check
from tests.faults.history import History
from tests.faults.simulation.calling import PATHS, Agent
from tests.faults.simulation.disturbing import Fault, some_faults
from tests.faults.simulation.virtual import VirtualLoop
from tests.faults.simulation.world import (
    IDLE_MS,
    Server,
    World,
    determined,
)

from oneseek_sandbox import models

__all__ = ["run", "simulate"]

_THREADS: Final = ("t0", "t1")
_CALLERS_OF_EACH: Final = 2
_CALLS: Final = 9
# Whoever was cut off, or is late, has nothing to tell any more after this.
_QUIET_SECONDS: Final = 130
_PIN_SECONDS: Final = 100
_MOST_FAULTS: Final = 15
_ROUNDS: Final = 12


def simulate(seed: int, *faults: Fault) -> History:
    """Run one schedule to its end; with the given faults instead of those that the seed draws."""
    chance = Random(seed)
    loop = VirtualLoop()
    loop.set_exception_handler(lambda *_: None)
    world = World(loop, chance, seed=seed)
    with determined(Random(seed + 1)):
        try:
            loop.run_until_complete(_Schedule(world, list(faults)).run())
        finally:
            world.close()
            loop.close()
    return world.recorder.history()


def run(seed: int) -> list[Finding]:
    """Return what a schedule breaks."""
    return check(simulate(seed))


class _Schedule:
    def __init__(self, world: World, faults: list[Fault]) -> None:
        self._world = world
        self._chance = world.chance
        self._written = 0
        drawn = some_faults(self._chance)
        self._faults = faults or drawn

    async def run(self) -> None:
        """Work under faults; then let everything be seen, ended, and cleaned up."""
        for _ in range(self._chance.choice((1, 2, 2, 3))):
            self._world.start_server()
        callers = [
            asyncio.ensure_future(self._call_on(thread))
            for thread in _THREADS
            for _ in range(_CALLERS_OF_EACH)
        ]
        others = [asyncio.ensure_future(self._disturb()), asyncio.ensure_future(self._clean())]
        await asyncio.gather(*callers)
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        self._calm()
        await asyncio.sleep(_QUIET_SECONDS)
        for thread in _THREADS:
            await self._look(thread)
        await self._end()

    # Agents

    async def _call_on(self, thread: str) -> None:
        """Be one caller of a thread."""
        caller = Agent(self._world, thread, self._next_content)
        for _ in range(_CALLS):
            pause = self._chance.random()
            await asyncio.sleep(pause * 4 if pause < 0.97 else IDLE_MS / 1000 * pause * 1.3)
            await caller.call()

    def _next_content(self) -> str:
        self._written += 1
        return f"content {self._written}"

    async def _clean(self) -> None:
        while True:
            await asyncio.sleep(self._chance.uniform(5, 60))
            await _clean_up(self._chance.choice(self._world.servers))

    # Faults

    async def _disturb(self) -> None:
        for _ in range(_MOST_FAULTS if self._faults else 0):
            await asyncio.sleep(self._chance.expovariate(1 / 6))
            self._world.keep_store()
            await self._chance.choice(self._faults)(self._world)

    def _calm(self) -> None:
        for weather in self._world.weather.values():
            weather.clear()
        for server in self._world.servers:
            server.process.resume()

    # The end

    async def _look(self, thread: str) -> None:
        """See what a thread has after all that."""
        caller = Agent(self._world, thread, self._next_content)
        await caller.acquire()
        for path in PATHS:
            await caller.read(path)

    async def _end(self) -> None:
        """Let everything end: some by release, the rest by its idle time."""
        world = self._world
        if self._chance.random() < 0.5:
            for thread in _THREADS:
                await Agent(world, thread, self._next_content).release()
        doomed = {entry.uid for entry in await world.store.doomed(1000)}
        # What nobody claimed was made for an acquire that had given up; nobody has it.
        live = [o for o in world.runtime.objects.values() if o.claimed and o.uid not in doomed]
        for thread in _THREADS:
            world.recorder.sandboxes(thread, [o.uid for o in live if _is_of(o, thread)])
        await asyncio.sleep((IDLE_MS + world.behind_ms) / 1000 + _PIN_SECONDS)
        for _ in range(_ROUNDS):
            if not (
                world.runtime.objects or await world.store.doomed(1) or await world.store.count()
            ):
                break
            await _clean_up(world.servers[0])
            await asyncio.sleep(61)
        for sandbox in world.runtime.objects.values():
            world.recorder.left("object", sandbox.name)
        for entry in await world.store.doomed(1000):
            world.recorder.left("doomed", entry.name)
        for lease in await world.store.leases():
            world.recorder.left("lease", lease.thread.thread_id)


def _is_of(sandbox: Any, thread: str) -> bool:
    return sandbox.labels is not None and sandbox.labels.thread.thread_id == thread


async def _clean_up(server: Server) -> None:
    request = models.CleanupIdleRequest()
    await server.ask("cleanup_idle", "", lambda p, caller, _: p.cleanup_idle(request, caller))
