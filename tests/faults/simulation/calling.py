"""A caller of a simulated run: what agents do, and do again when they heard nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from tests.faults.simulation.world import Answer, Line, World, last

from oneseek_sandbox import models
from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control.provisioner import Provisioner

__all__ = ["PATHS", "Agent"]

PATHS: Final = ("/workspace/a", "/workspace/b")

# How many of the answered commands are asked for no more.
_ENOUGH: Final = 0.6
_SETTLED: Final = {
    "lease_not_found",
    "sandbox_released",
    "sandbox_expired",
    "answer_lost",
    "request_id_conflict",
}


class Agent:
    """One caller of a thread, who sometimes names its sandbox by what an acquire told."""

    def __init__(self, world: World, thread: str, content: Callable[[], str]) -> None:
        self._world = world
        self._chance = world.chance
        self._thread = thread
        self._content = content
        self._sandbox_id = ""
        self._unsure: tuple[str, dict[str, str]] | None = None

    async def call(self) -> None:
        """Do one thing."""
        roll = self._chance.random()
        if roll < 0.3 or not self._sandbox_id:
            await self.acquire()
        elif roll < 0.55:
            await self._write()
        elif roll < 0.75:
            await self.read(self._chance.choice(PATHS))
        elif roll < 0.93:
            await self._execute()
        else:
            await self.release()

    async def acquire(self) -> None:
        request = models.AcquireRequest(thread_id=self._thread)

        async def acquire(p: Provisioner, caller: Caller, line: Line) -> None:
            async with p.acquiring(request, caller) as answer:
                line.send(answer)

        answer = await self._ask("acquire", acquire)
        if answer.outcome == "ok":
            self._sandbox_id = answer.value["sandbox_id"]

    async def _write(self) -> None:
        path, content = self._chance.choice(PATHS), self._content()
        name = self._name()
        request = models.WriteFileRequest(path=path, content=content, **name)
        await self._ask(
            "write_file",
            lambda p, caller, _: p.write_file(request, caller),
            path=path,
            content=content,
            **name,
        )

    async def read(self, path: str) -> None:
        name = self._name()
        request = models.ReadFileRequest(path=path, **name)
        await self._ask(
            "read_file", lambda p, caller, _: p.read_file(request, caller), path=path, **name
        )

    async def _execute(self) -> None:
        """Run a command once; one whose answer nobody knows, and some others, are asked for again."""
        if self._unsure is None:
            request_id = self._content().replace("content ", "r")
            self._unsure = (request_id, {"sandbox_id": self._sandbox_id})
        request_id, name = self._unsure
        request = models.ExecuteRequest(command="true", request_id=request_id, **name)
        answer = await self._ask(
            "execute",
            lambda p, caller, _: last(p.execute(request, caller)),
            request_id=request_id,
            **name,
        )
        settled = answer.outcome == "ok" and self._chance.random() < _ENOUGH
        if settled or answer.value.get("code") in _SETTLED:
            self._unsure = None

    async def release(self) -> None:
        name = self._name()
        request = models.ReleaseRequest(**name)
        await self._ask("release", lambda p, caller, _: p.release(request, caller), **name)

    def _name(self) -> dict[str, str]:
        if self._sandbox_id and self._chance.random() < 0.5:
            return {"sandbox_id": self._sandbox_id}
        return {"thread_id": self._thread}

    async def _ask(self, verb: str, request: Any, **fields: str) -> Answer:
        server = self._chance.choice(self._world.servers)
        patience = 200.0 if self._chance.random() < 0.95 else self._chance.uniform(0, 0.2)
        return await server.ask(verb, self._thread, request, patience=patience, **fields)
