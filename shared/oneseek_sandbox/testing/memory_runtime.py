"""A runtime whose sandboxes are entries in a dictionary, each with a scripted worker."""

from __future__ import annotations

import dataclasses
import secrets
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import CreationLostError, SandboxLostError
from oneseek_sandbox.runtimes.runtime import SandboxObject
from oneseek_sandbox.testing.scripted_worker import ScriptedWorker

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Check, Labels, ObjectState

__all__ = ["MemoryRuntime"]


class MemoryRuntime:
    """Keeps the promises of `Runtime` as far as one process can see them.

    Attributes:
        objects: By uid; what a test takes out is gone.
        stopped: uids that have files and no process.
        workers: By uid.
    """

    name = "memory"

    def __init__(self) -> None:
        self.objects: dict[str, SandboxObject] = {}
        self.stopped: set[str] = set()
        self.workers: dict[str, ScriptedWorker] = {}

    async def open(self) -> None:
        """Nothing to prepare."""

    async def close(self) -> None:
        """End the workers."""
        for worker in self.workers.values():
            await worker.__aexit__()
        self.workers.clear()

    async def find(self, thread: Thread) -> list[SandboxObject]:
        found = [o for o in self.objects.values() if o.labels and o.labels.thread == thread]
        return sorted(found, key=_generation, reverse=True)

    async def create(self, labels: Labels) -> SandboxObject:
        uid = secrets.token_hex(8)
        self.workers[uid] = await ScriptedWorker().__aenter__()
        sandbox = SandboxObject(uid, f"sandbox-{uid}", self.workers[uid].address, labels)
        self.objects[uid] = sandbox
        return sandbox

    async def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        current = self._current(sandbox)
        if _generation(current) > labels.generation:
            raise CreationLostError("It carries a greater generation.")
        restarted = sandbox.uid in self.stopped
        self.stopped.discard(sandbox.uid)
        created_ms = current.labels.created_ms if current.labels else 0
        kept = dataclasses.replace(labels, created_ms=created_ms)
        adopted = dataclasses.replace(current, labels=kept, restarted=restarted)
        self.objects[sandbox.uid] = adopted
        return adopted

    async def mark_claimed(self, sandbox: SandboxObject) -> None:
        current = self._current(sandbox)
        self.objects[sandbox.uid] = dataclasses.replace(current, claimed=True)

    async def annotate(self, uid: str, name: str, labels: Labels) -> None:
        del name
        current = self.objects.get(uid)
        if current is None or current.labels is None:
            raise SandboxLostError("It is gone.")
        own = current.labels
        if (own.generation, own.sandbox_id) != (labels.generation, labels.sandbox_id):
            raise CreationLostError("It was taken over.")
        own = dataclasses.replace(own, labels=labels.labels, env=labels.env)
        self.objects[uid] = dataclasses.replace(current, labels=own)

    async def inspect(self, uid: str, name: str) -> ObjectState:
        del name
        if uid not in self.objects:
            return "gone"
        return "stopped" if uid in self.stopped else "running"

    async def explain(self, uid: str, name: str) -> str:
        del uid, name
        return ""

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        del name
        current = self.objects.get(uid)
        if current is not None and generation is not None and _generation(current) > generation:
            return False
        self.objects.pop(uid, None)
        return True

    async def maintain(self) -> None:
        """Nothing to do."""

    async def check(self) -> list[Check]:
        return []

    async def shortages(self) -> Sequence[str]:
        return ()

    async def damaged(self) -> Sequence[str]:
        return ()

    def _current(self, sandbox: SandboxObject) -> SandboxObject:
        current = self.objects.get(sandbox.uid)
        if current is None:
            raise SandboxLostError("It is gone.")
        if current.labels != sandbox.labels:
            raise CreationLostError("It changed since it was found.")
        return current

    async def list(self) -> list[SandboxObject]:
        return list(self.objects.values())


def _generation(sandbox: SandboxObject) -> int:
    return sandbox.labels.generation if sandbox.labels else 0
