"""Ending sandboxes: what a release ends, and the deletion of what the store has doomed."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import LeaseNotFoundError, SandboxError, SandboxGoneError
from oneseek_sandbox.lasting import Lasting, Shared
from oneseek_sandbox.leases.facts import log_end
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.models import ReleaseAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.leases.store import Doomed, LeaseStore, Released
    from oneseek_sandbox.models import ReleaseRequest
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject

    Locate = Callable[[ReleaseRequest, Caller], Awaitable[tuple[Thread, str | None]]]

__all__ = ["Releases", "delete_doomed", "end_doomed_among"]

log = logging.getLogger(__name__)

_STOP_SECONDS: Final = 30.0
"""What takes longer to end holds nobody up any more."""


async def delete_doomed(store: LeaseStore, runtime: Runtime, entry: Doomed) -> None:
    """End a doomed sandbox and drop its entry; what fails, or hangs, stays for the next round."""
    try:
        async with asyncio.timeout(_STOP_SECONDS):
            if await runtime.stop(entry.uid, entry.name):
                await store.forget(entry.uid)
                log_end(entry.thread, entry.sandbox_id, entry.name, entry.reason)
    except SandboxError as error:
        log.warning("Sandbox %s stays doomed until it can be ended: %s", entry.name, error)
    except TimeoutError:
        log.warning("Sandbox %s could not be ended in time; later again", entry.name)


async def end_doomed_among(
    store: LeaseStore, runtime: Runtime, found: list[SandboxObject]
) -> set[str]:
    """End what is doomed of a thread's objects: whoever doomed it may never have heard of it.

    Returns:
        Their uids, also of those that could not be ended.
    """
    if not found:
        return set()
    doomed = await store.doomed_among([sandbox.uid for sandbox in found])
    await asyncio.gather(*(delete_doomed(store, runtime, entry) for entry in doomed.values()))
    return set(doomed)


class Releases:
    """Ends the sandbox of a thread in the store, then in the runtime."""

    def __init__(self, store: LeaseStore, runtime: Runtime) -> None:
        self._store = store
        self._runtime = runtime
        self._under_way = Lasting()
        # Whoever names what nobody knows makes us list all there is.
        self._all = Shared(runtime.list)

    async def close(self, *, within_seconds: float) -> None:
        """Let what is being ended end; what takes longer stays doomed."""
        await self._under_way.close(within_seconds=within_seconds)

    async def release(
        self, request: ReleaseRequest, caller: Caller, locate: Locate
    ) -> ReleaseAnswer:
        """End a sandbox, or say that it had ended; goes on to its end when the caller leaves.

        Args:
            locate: Returns the thread, and the `sandbox_id` when it was named by that; also of
                one that has ended.

        Raises:
            LeaseNotFoundError: Neither the store nor the runtime knows of one.
            SandboxGoneError: `sandbox_id` expired or was lost.
        """
        return await self._under_way.see_through(self._release(request, caller, locate))

    async def _release(
        self, request: ReleaseRequest, caller: Caller, locate: Locate
    ) -> ReleaseAnswer:
        try:
            released = await self._of_lease(*await locate(request, caller))
        except LeaseNotFoundError:
            unleased = await self._of_unleased(request, caller)
            if unleased is None:
                raise
            released = unleased
        return ReleaseAnswer(released=not released.already, already_released=released.already)

    async def _of_lease(self, thread: Thread, sandbox_id: str | None) -> Released:
        """End a lease, and what was being made or adopted for it.

        One that was over before is not proved gone: who ended it may have died, or its answer may
        have been lost.
        """
        try:
            released = await self._store.release(thread, sandbox_id=sandbox_id)
        except SandboxGoneError:
            await self._end_found(thread)
            raise
        if released.doomed is not None:
            await delete_doomed(self._store, self._runtime, released.doomed)
        else:
            await self._end_found(thread, released.generation)
        return released

    async def _end_found(self, thread: Thread, generation: int = 0) -> None:
        """End what the runtime has of a thread that is doomed, or labelled up to `generation`."""
        found = await self._runtime.find(thread)
        doomed = await end_doomed_among(self._store, self._runtime, found)
        await self._stop([each for each in found if each.uid not in doomed], generation)

    async def _of_unleased(self, request: ReleaseRequest, caller: Caller) -> Released | None:
        """End what the runtime has of a sandbox that the store does not know (it was emptied)."""
        found = await self._labelled(request, caller)
        labels = [sandbox.labels for sandbox in found if sandbox.labels]
        if not labels:
            return None
        released = await self._store.release(
            labels[0].thread,
            sandbox_id=request.sandbox_id,
            found_generation=max(label.generation for label in labels),
        )
        if released.doomed is not None:
            await delete_doomed(self._store, self._runtime, released.doomed)
        await self._stop(found, released.generation)
        return released

    async def _labelled(self, request: ReleaseRequest, caller: Caller) -> list[SandboxObject]:
        if request.thread_id is not None:
            thread = Thread(caller.scope(request.scope), request.thread_id)
            return [sandbox for sandbox in await self._runtime.find(thread) if sandbox.labels]
        return [
            sandbox
            for sandbox in await self._all.look()
            if sandbox.labels
            and sandbox.labels.sandbox_id == request.sandbox_id
            and caller.reaches(sandbox.labels.thread.scope)
        ]

    async def _stop(self, found: list[SandboxObject], generation: int) -> None:
        """End objects as they were found; whoever acquires next ends what is left."""
        for sandbox in found:
            labels = sandbox.labels
            if labels is None or labels.generation > generation:
                continue  # of a creation that began since
            try:
                seen = labels.generation
                if await self._runtime.stop(sandbox.uid, sandbox.name, generation=seen):
                    log_end(labels.thread, labels.sandbox_id, sandbox.name, "released")
            except SandboxError as error:
                log.warning("Sandbox %s is left to the cleanup: %s", sandbox.name, error)
