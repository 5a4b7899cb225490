"""Sandboxes as entries in a dictionary: the runtime that makes them, and the worker in each.

A worker behaves as the real one towards whoever claims it and calls it; what is written in it is
there as long as the sandbox, what it knows of commands as long as its process.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import Any

from tests.faults.simulation.network import Network, Weather

from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxLostError,
    SandboxUnavailableError,
    WorkspaceFileNotFoundError,
)
from oneseek_sandbox.leases.store import Lease
from oneseek_sandbox.runtimes.runtime import Labels, SandboxObject
from oneseek_sandbox.testing.memory_runtime import MemoryRuntime
from oneseek_sandbox.workers.claims import ClaimConflictError, Variables
from oneseek_sandbox.workers.client import OpenFile, WorkerNotReadyError
from oneseek_sandbox.workers.replies import Claimed, Exit, Health, ReadMeta, Written

__all__ = ["Guest", "SimulatedRuntime", "SimulatedWorkers"]


@dataclasses.dataclass(slots=True)
class Guest:
    """The worker of one sandbox, and its files.

    Attributes:
        ready_ms: When it begins to listen.
        marker: The token that an earlier process here was claimed with.
        commands: By `request_id`.
    """

    ready_ms: float
    alive: bool = True
    boot_id: str = dataclasses.field(default_factory=lambda: secrets.token_hex(16))
    token: str = ""
    marker: str = ""
    generation: int = 0
    files: dict[str, bytes] = dataclasses.field(default_factory=dict)
    commands: set[str] = dataclasses.field(default_factory=set)

    def start_again(self, ready_ms: float) -> None:
        """Be another process over the same files."""
        self.alive, self.boot_id, self.token = True, secrets.token_hex(16), ""
        self.ready_ms, self.generation, self.commands = ready_ms, 0, set()

    def claim(self, token: str, generation: int) -> str:
        if (self.token or self.marker) not in ("", token):
            raise ClaimConflictError("It belongs to another token.")
        if generation < self.generation:
            raise CreationLostError("A newer acquire took this sandbox over.")
        self.token = self.marker = token
        self.generation = generation
        return self.boot_id

    def check(self, lease: Lease) -> None:
        placement = lease.placement
        assert placement is not None
        if (self.boot_id, self.token) != (placement.boot_id, placement.token):
            raise SandboxLostError("Another process answers here. Acquire again.")
        if lease.generation < self.generation:
            raise SandboxLostError("A later generation holds it. Acquire again.")


class SimulatedRuntime(MemoryRuntime):
    """A memory runtime whose workers are guests.

    Args:
        in_place: A worker that dies is started again where it is, as in a pod; else it is down
            until somebody adopts it, as on one machine.
        elapsed_ms: The clock that never jumps; workers start by it.
        starting_ms: How long the next worker takes until it listens.
    """

    def __init__(
        self,
        now_ms: Callable[[], int],
        elapsed_ms: Callable[[], float],
        starting_ms: Callable[[], int],
        *,
        in_place: bool,
    ) -> None:
        super().__init__()
        self.guests: dict[str, Guest] = {}
        self.in_place = in_place
        self._now_ms = now_ms
        self._elapsed_ms = elapsed_ms
        self._starting_ms = starting_ms

    async def create(self, labels: Labels) -> SandboxObject:
        uid = secrets.token_hex(8)
        labels = dataclasses.replace(labels, created_ms=labels.created_ms or self._now_ms())
        self.guests[uid] = Guest(self._ready_ms())
        self.objects[uid] = SandboxObject(uid, f"sandbox-{uid}", f"guest:{uid}", labels)
        return self.objects[uid]

    async def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        if current := self.objects.get(sandbox.uid):
            created_ms = current.labels.created_ms if current.labels else 0
            labels = dataclasses.replace(labels, created_ms=created_ms)
        adopted = await super().adopt(sandbox, labels)
        guest = self.guests[sandbox.uid]
        if not guest.alive:
            guest.start_again(self._ready_ms())
        return adopted

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        gone = await super().stop(uid, name, generation=generation)
        if uid not in self.objects:
            self.guests.pop(uid, None)
        return gone

    def kill_worker(self, uid: str) -> None:
        """End the worker's process; the files stay."""
        guest = self.guests[uid]
        if self.in_place:
            guest.start_again(self._ready_ms())
        else:
            guest.alive = False
            self.stopped.add(uid)

    def lose(self, uid: str) -> None:
        """Take a sandbox away with its files."""
        self.objects.pop(uid, None)
        self.guests.pop(uid, None)
        self.stopped.discard(uid)

    def listening(self, address: str) -> Guest | None:
        """Return who answers at an address now."""
        guest = self.guests.get(address.partition(":")[2])
        return guest if guest and guest.alive and guest.ready_ms <= self._elapsed_ms() else None

    def _ready_ms(self) -> float:
        return self._elapsed_ms() + self._starting_ms()


class SimulatedWorkers:
    """A `WorkerClient` of one process, to guests instead of sockets."""

    def __init__(
        self,
        network: Network,
        weather: Weather,
        runtime: SimulatedRuntime,
        ran: Callable[[str], None],
    ) -> None:
        self._network = network
        self._weather = weather
        self._runtime = runtime
        self._ran = ran

    async def close(self) -> None:
        """Nothing is pooled."""

    async def claim(
        self,
        address: str,
        *,
        token: str,
        generation: int,
        idle_ms: int,
        uid: str | None = None,
        env: Variables | None = None,
    ) -> Claimed:
        del idle_ms, env
        assert uid in (None, address.partition(":")[2])

        async def claim() -> Claimed:
            guest = self._runtime.listening(address)
            if guest is None:
                raise WorkerNotReadyError("Nothing listens.")
            boot_id = guest.claim(token, generation)
            return Claimed(protocol=1, boot_id=boot_id, empty=not guest.files)

        return await self._network.call(
            self._weather, claim, lambda _: WorkerNotReadyError("No answer."), outlives=False
        )

    async def health(self, lease: Lease, *, idle_ms: int | None = None) -> Health:
        del idle_ms
        return await self._call(lease, lambda _: Health(commands=0, processes=0))

    async def execute(
        self, lease: Lease, request: dict[str, Any], *, live_bytes: int = 0
    ) -> AsyncGenerator[Exit, None]:
        del live_bytes  # nothing here prints

        def run(guest: Guest) -> Exit:
            request_id = request["request_id"]
            if request_id not in guest.commands:
                guest.commands.add(request_id)
                self._ran(request_id)
            return _EXIT

        yield await self._call(lease, run, outlives=True)

    async def write(self, lease: Lease, meta: dict[str, Any], content: bytes) -> Written:
        def write(guest: Guest) -> Written:
            created = meta["path"] not in guest.files
            guest.files[meta["path"]] = content
            return Written(size=len(content), sha256=sha256(content).hexdigest(), created=created)

        return await self._call(lease, write)

    @asynccontextmanager
    async def read(self, lease: Lease, request: dict[str, Any]) -> AsyncIterator[OpenFile]:
        def read(guest: Guest) -> bytes:
            if request["path"] not in guest.files:
                raise WorkspaceFileNotFoundError("No such file.")
            return guest.files[request["path"]]

        content = await self._call(lease, read)

        async def chunks() -> AsyncIterator[bytes]:
            yield content

        digest = sha256(content).hexdigest()
        meta = ReadMeta(size=len(content), sha256=digest, total_lines=1, truncated=False)
        yield OpenFile(meta, chunks())

    async def _call(
        self, lease: Lease, work: Callable[[Guest], Any], *, outlives: bool = False
    ) -> Any:
        placement = lease.placement
        if placement is None:
            raise SandboxUnavailableError("It is being created.")

        async def call() -> Any:
            guest = self._runtime.listening(placement.address)
            if guest is None:
                raise SandboxUnavailableError("Nothing listens. Try again.", may_have_run=False)
            guest.check(lease)
            return work(guest)

        def given_up(sent: bool) -> Exception:
            return SandboxUnavailableError("No answer. Try again.", may_have_run=sent)

        return await self._network.call(self._weather, call, given_up, outlives=outlives)


_EXIT = Exit.model_validate(
    {
        "exit_code": 0,
        "timed_out": False,
        "killed_by": None,
        "duration_ms": 1,
        "background": False,
        "stdout": {"head": "", "tail": "", "bytes": 0},
        "stderr": {"head": "", "tail": "", "bytes": 0},
    }
)
