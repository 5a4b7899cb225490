"""Acquiring: reuse the thread's sandbox, look at one under suspicion, or create."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.creation import Created
from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxError,
    SandboxLostError,
    SandboxUnavailableError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases.store import Busy, Creation, Granted

if TYPE_CHECKING:
    from oneseek_sandbox.creation import Creator
    from oneseek_sandbox.leases.store import Lease, LeaseStore, Thread
    from oneseek_sandbox.runtimes.runtime import Runtime
    from oneseek_sandbox.worker.client import WorkerClient

__all__ = ["Acquisition"]

log = logging.getLogger(__name__)

_HEALTH_SECONDS: Final = 5.0
_CLOSE_SECONDS: Final = 10.0


class Acquisition:
    """The control plane's part of the provisioner.

    Args:
        patience_seconds: How long one acquire may take in all.
    """

    def __init__(
        self,
        store: LeaseStore,
        runtime: Runtime,
        workers: WorkerClient,
        creator: Creator,
        *,
        patience_seconds: float,
    ) -> None:
        self.runtime = runtime
        self.creator = creator
        self._store = store
        self._workers = workers
        self._patience_seconds = patience_seconds
        self._creating: set[asyncio.Task[Created]] = set()

    async def close(self, *, within_seconds: float = _CLOSE_SECONDS) -> None:
        """Let creations under way end, then let go of the runtime.

        One that takes longer is cut: whoever acquires next takes it over.
        """
        if self._creating:
            _, late = await asyncio.wait(self._creating, timeout=within_seconds)
            for creation in late:
                creation.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self.runtime.close()

    async def acquire(self, thread: Thread, *, idle_ms: int | None) -> Created:
        """Return the thread's ready lease, and whether its files were there before.

        Raises:
            SandboxUnavailableError: It took longer than the patience allows.
        """
        try:
            async with asyncio.timeout(self._patience_seconds):
                acquired = await self._acquire(thread, idle_ms=idle_ms)
        except TimeoutError:
            raise SandboxUnavailableError(
                f"The thread's sandbox did not become ready within {self._patience_seconds:g} s. "
                "Try again."
            ) from None
        await self._acknowledge(acquired.lease)
        return acquired

    async def _acknowledge(self, lease: Lease) -> None:
        """Note that a restart is told by this acquire; told twice is better than never."""
        if lease.placement is None or not lease.placement.restarted:
            return
        try:
            await self._store.acknowledge_restart(lease)
        except StoreUnavailableError as error:
            log.warning("The next acquire will tell of the restart again: %s", error)

    async def _acquire(self, thread: Thread, *, idle_ms: int | None) -> Created:
        lost: str | None = None
        while True:
            outcome = await self._store.acquire(
                thread, attempt=secrets.token_hex(16), idle_ms=idle_ms, lost=lost
            )
            if isinstance(outcome, Busy):
                await self._store.wait(thread, outcome.wait_ms)
            elif isinstance(outcome, Creation):
                try:
                    return await self._create(outcome)
                except (CreationLostError, SandboxLostError):
                    continue  # taken over, released or ended: what is the thread's lease now?
            elif await self._answers(outcome.lease):
                if isinstance(outcome, Granted):
                    return Created(outcome.lease, found=True)
                # The suspicion is gone; asked again, the store counts this as activity.
            else:
                settled = await self._settle(outcome.lease)
                if isinstance(settled, Created):
                    return settled
                lost = settled

    async def _create(self, creation: Creation, *, restart: bool = False) -> Created:
        """Create to the end even when the caller goes away: the next acquire finds it ready."""
        task = asyncio.create_task(self.creator.create(creation, restart=restart))
        self._creating.add(task)
        task.add_done_callback(self._forget)
        return await asyncio.shield(task)

    def _forget(self, task: asyncio.Task[Created]) -> None:
        self._creating.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.warning("A creation failed: %s", error)

    async def _answers(self, lease: Lease) -> bool:
        """Ask the worker; clear the lease's mark when it answers."""
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                await self._workers.health(lease, idle_ms=lease.idle_ms)
        except (TimeoutError, SandboxError):
            return False
        if lease.suspect:
            await self._store.clear(lease)
        return True

    async def _settle(self, lease: Lease) -> Created | str:
        """Ask the runtime about a sandbox that does not answer.

        Returns:
            The restarted sandbox, or the `sandbox_id` of one that is gone for good.

        Raises:
            SandboxUnavailableError: It runs and does not answer; nothing is thrown away for that.
        """
        placement = lease.placement
        if placement is None:
            return ""
        state = await self.runtime.inspect(placement.uid, placement.name)
        if state == "gone":
            return lease.sandbox_id
        if state == "running":
            return await self._doubt(lease)
        with contextlib.suppress(CreationLostError):
            outcome = await self._store.restart(
                lease.thread, sandbox_id=lease.sandbox_id, attempt=secrets.token_hex(16)
            )
            if isinstance(outcome, Creation):
                try:
                    return await self._create(outcome, restart=True)
                except SandboxLostError:
                    return lease.sandbox_id
        return ""

    async def _doubt(self, lease: Lease) -> str:
        """Decide about an object that runs: another process inside is a loss, silence is not."""
        await self._store.suspect(lease)
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                await self._workers.health(lease)
        except SandboxLostError:
            return lease.sandbox_id
        except TimeoutError as error:
            raise self._silent(lease) from error
        except SandboxError as error:
            raise self._silent(lease) from error
        return ""

    def _silent(self, lease: Lease) -> SandboxUnavailableError:
        return SandboxUnavailableError(
            f"The sandbox of thread {lease.thread.thread_id!r} is running and does not answer. Try "
            "again; to give its files up and start anew, release it and acquire again."
        )
