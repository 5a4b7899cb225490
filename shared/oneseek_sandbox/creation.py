"""Making the sandbox of a thread: the four steps, under a creation lease that is kept alive.

    creating (store) → take, adopt or start an object (runtime) → claim its worker → commit (store)

The process may die between any two lines. Whoever takes the creation over finds the object by its
labels, labels it with a greater generation and goes on; a creator that was only slow then fails at
its next step and must leave the object alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.claiming import Claiming
from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxError,
    SandboxLostError,
    SandboxStartError,
    StoreUnavailableError,
    UnavailableError,
)
from oneseek_sandbox.leases.store import Placement
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.worker.client import ClaimConflictError

if TYPE_CHECKING:
    from oneseek_sandbox.auth import TokenKey
    from oneseek_sandbox.leases.store import Creation, Lease, LeaseStore
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject
    from oneseek_sandbox.worker.client import WorkerClient

__all__ = ["Created", "Creator"]

log = logging.getLogger(__name__)

_COMMIT_PAUSES_SECONDS: Final = (0.05, 0.2, 0.5)


@dataclass(frozen=True, slots=True)
class Created:
    """A committed lease; `found` when its files had been there before."""

    lease: Lease
    found: bool


class Creator:
    """Turns the right to create into a ready lease.

    Args:
        startup_seconds: How long a sandbox may take until its worker answers.
        creation_ms: Life of the creation lease; it is renewed three times in it.
    """

    def __init__(
        self,
        store: LeaseStore,
        runtime: Runtime,
        workers: WorkerClient,
        token_key: TokenKey,
        *,
        startup_seconds: float,
        creation_ms: int,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._token_key = token_key
        self._claiming = Claiming(runtime, workers, token_key, startup_seconds=startup_seconds)
        self._creation_ms = creation_ms

    async def create(
        self, creation: Creation, *, restart: bool = False, adopt_only: bool = False
    ) -> Created:
        """Make the sandbox, or take over the one that is there.

        Args:
            restart: The lease had a sandbox that stopped: start that one again, make no other.
            adopt_only: Take over what is there, make no other.

        Raises:
            CreationLostError: Somebody else took over, or the thread was released.
            SandboxLostError: What was to be taken over is gone.
            SandboxStartError: It did not start; nothing is left behind.
            CapacityError: There is no room for another.
        """
        work = asyncio.ensure_future(
            self._steps(creation, restart=restart, make=not (restart or adopt_only))
        )
        renewing = asyncio.ensure_future(self._keep_alive(creation, work))
        try:
            return await work
        except asyncio.CancelledError:
            if work.cancelled() and renewing.done() and not renewing.cancelled():
                raise CreationLostError(
                    "Another acquire took this creation over. Acquire again."
                ) from None
            raise
        finally:
            renewing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await renewing

    async def _keep_alive(self, creation: Creation, work: asyncio.Future[Created]) -> None:
        """Renew the creation lease; end the work when it is lost, not when the store is away."""
        while True:
            await asyncio.sleep(self._creation_ms / 3000)
            try:
                await self._store.renew(creation)
            except CreationLostError:
                work.cancel()
                return
            except UnavailableError as error:
                log.warning("Could not renew a creation lease, trying on: %s", error)

    async def _steps(self, creation: Creation, *, restart: bool, make: bool) -> Created:
        sandbox: SandboxObject | None = None
        found = False
        try:
            while True:
                creation, sandbox, found = await self._obtain(creation, restart=restart, make=make)
                try:
                    sandbox, boot_id = await self._claiming.claim(creation, sandbox)
                except ClaimConflictError:
                    log.warning("Sandbox %s belongs to another; taking the next", sandbox.name)
                    await self._stop(creation, sandbox)
                    continue
                break
            await self._runtime.mark_claimed(sandbox)
            lease = await self._commit(creation, self._placement(sandbox, boot_id))
        except (CreationLostError, asyncio.CancelledError):
            await self._let_go(creation, sandbox, found=found)
            raise
        except SandboxError as error:
            if not _may_go_on(error, found=found, restart=restart):
                await self._give_up(creation, sandbox)
            raise
        return Created(lease, found)

    async def _commit(self, creation: Creation, placement: Placement) -> Lease:
        """Commit, and ask again when the answer was lost: the lease may be in use already."""
        for pause in _COMMIT_PAUSES_SECONDS:
            try:
                return await self._store.commit(creation, placement)
            except StoreUnavailableError:
                await asyncio.sleep(pause)
        return await self._store.commit(creation, placement)

    async def _obtain(
        self, creation: Creation, *, restart: bool, make: bool
    ) -> tuple[Creation, SandboxObject, bool]:
        """Adopt the thread's newest object that is still wanted, or make one."""
        candidates = await self._candidates(creation, restart=restart)
        newest = max((o.labels.generation for o in candidates if o.labels), default=0)
        if newest >= creation.generation and not restart:
            creation = await self._store.renew(creation, above_generation=newest)
        labels = Labels(
            thread=creation.thread,
            generation=creation.generation,
            idle_ms=creation.idle_ms,
            sandbox_id=creation.sandbox_id,
        )
        for candidate in candidates:
            try:
                adopted = await self._runtime.adopt(candidate, labels)
            except SandboxLostError:
                continue
            return creation, adopted, candidate.claimed
        if not make:
            raise SandboxLostError("The sandbox's files are gone. Acquire again for a new one.")
        return creation, await self._runtime.create(labels), False

    async def _candidates(self, creation: Creation, *, restart: bool) -> list[SandboxObject]:
        """Return what may be adopted: for a restart only the lease's own object.

        What is as old as the last sandbox that ended is ended too: a release that came while it
        was being adopted could doom nothing.
        """
        found = await self._runtime.find(creation.thread)
        doomed = await self._store.doomed_among([o.uid for o in found]) if found else set()
        candidates: list[SandboxObject] = []
        for sandbox in found:
            labels = sandbox.labels
            if labels is None or sandbox.uid in doomed:
                continue
            if labels.generation <= creation.ended_generation:
                over = creation.ended_generation
                await self._runtime.stop(sandbox.uid, sandbox.name, generation=over)
            elif not restart or labels.sandbox_id == creation.sandbox_id:
                candidates.append(sandbox)
        return candidates

    async def _stop(self, creation: Creation, sandbox: SandboxObject) -> bool:
        """End an object, unless a successor of this creation has labelled it as its own."""
        return await self._runtime.stop(sandbox.uid, sandbox.name, generation=creation.generation)

    def _placement(self, sandbox: SandboxObject, boot_id: str) -> Placement:
        return Placement(
            uid=sandbox.uid,
            name=sandbox.name,
            address=sandbox.address,
            token=self._token_key.token_for(sandbox.uid),
            key_id=self._token_key.key_id,
            boot_id=boot_id,
            warm=sandbox.warm,
            restarted=sandbox.restarted,
        )

    async def _let_go(
        self, creation: Creation, sandbox: SandboxObject | None, *, found: bool
    ) -> None:
        """After losing the creation: end our object, unless a successor has labelled it.

        One with files of before is left to a successor that has not come so far yet.
        """
        if sandbox is None:
            return
        try:
            if found and await self._store.get(creation.thread) is not None:
                return
            await self._stop(creation, sandbox)
        except SandboxError as error:
            log.warning("Sandbox %s is left to the cleanup: %s", sandbox.name, error)

    async def _give_up(self, creation: Creation, sandbox: SandboxObject | None) -> None:
        """After a failure: free the thread and end what was made; the cleanup does what is left."""
        try:
            if sandbox is None:
                await self._store.abandon(creation)
                return
            await self._store.abandon(creation, uid=sandbox.uid, name=sandbox.name)
            if await self._stop(creation, sandbox):
                await self._store.forget(sandbox.uid)
        except SandboxError as error:
            log.warning("A failed creation is left to the cleanup: %s", error)


def _may_go_on(error: SandboxError, *, found: bool, restart: bool) -> bool:
    """Return whether a failed creation is left as it is for the next acquire, which looks again.

    So it is when the lease may have been committed, and when there are files and nothing says
    that they are lost. The creation lease lapses in its time.
    """
    if isinstance(error, StoreUnavailableError):
        return True
    if restart:
        return not isinstance(error, SandboxLostError)
    return found and not isinstance(error, SandboxLostError | SandboxStartError)
