"""Making the sandbox of a thread: the four steps, under a creation lease that is kept alive.

    creating (store) → take, adopt or start an object (runtime) → claim its worker → commit (store)

The process may die between any two lines. Whoever takes the creation over finds the object by its
labels, labels it with a greater generation and goes on; a creator that was only slow then fails at
its next step and must leave the object alone.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.control.ending import end_doomed_among
from oneseek_sandbox.control.taken import Taken, labels_for
from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxError,
    SandboxLostError,
    SandboxStartError,
    SandboxUnavailableError,
    StoreUnavailableError,
    UnavailableError,
)
from oneseek_sandbox.workers.claims import ClaimConflictError, Variables

if TYPE_CHECKING:
    from oneseek_sandbox.control.claiming import Claims
    from oneseek_sandbox.leases.store import Creation, Lease, LeaseStore, Placement
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject

__all__ = ["Created", "Creator"]

log = logging.getLogger(__name__)

_COMMIT_PAUSES_SECONDS: Final = (0.05, 0.2, 0.5)
_MOST_CONFLICTS: Final = 4


@dataclass(frozen=True, slots=True)
class Created:
    """A committed lease; `found` when its files had been there before."""

    lease: Lease
    found: bool


class Creator:
    """Turns the right to create into a ready lease.

    Args:
        creation_ms: Life of the creation lease; it is renewed three times in it.
    """

    def __init__(
        self,
        store: LeaseStore,
        runtime: Runtime,
        claims: Claims,
        *,
        creation_ms: int,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._claims = claims
        self._creation_ms = creation_ms

    async def create(
        self, creation: Creation, *, unasked: bool = False, keep_idle: bool = False
    ) -> Created:
        """Make the sandbox, or take over the one that is there.

        A creation with a placement is a restart: that sandbox is started or claimed again, and no
        other is made.

        Args:
            unasked: Nobody acquires it: take over what is there, make no other, and do not count
                it as activity.
            keep_idle: An adopted sandbox keeps its own idle timeout.

        Raises:
            CreationLostError: Somebody else took over, or the thread was released.
            SandboxLostError: What was to be taken over is gone.
            SandboxStartError: It did not start; nothing is left behind.
            CapacityError: There is no room for another.
        """
        work = asyncio.ensure_future(self._steps(creation, unasked=unasked, keep_idle=keep_idle))
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
                log.warning("Could not renew a creation lease, still trying: %s", error)

    async def _steps(self, creation: Creation, *, unasked: bool, keep_idle: bool) -> Created:
        taken: Taken | None = None
        try:
            for _ in range(_MOST_CONFLICTS):
                taken = await self._obtain(creation, make=not unasked, keep_idle=keep_idle)
                try:
                    placement = await self._claims.claim(
                        creation := taken.creation,
                        taken.sandbox,
                        found=taken.found,
                        idle_ms=taken.idle_ms or creation.idle_ms,
                        env=await self._env(creation),
                    )
                except ClaimConflictError:
                    await self._refuse_conflict(taken)
                else:
                    break
            else:
                raise SandboxStartError("Another server claimed every new sandbox. Try again.")
            await self._runtime.mark_claimed(taken.sandbox)
        except (CreationLostError, asyncio.CancelledError):
            await self._let_go(taken)
            raise
        except SandboxError as error:
            if not _may_go_on(error, creation, taken):
                await self._give_up(creation, taken)
            raise
        return Created(await self._commit(taken, placement, unasked=unasked), taken.found)

    async def _commit(self, taken: Taken, placement: Placement, *, unasked: bool) -> Lease:
        """Commit, and ask again when the answer was lost: the lease may be in use already.

        So from here on nothing is ended for want of a lease, which the store may have forgotten:
        whoever acquires next adopts what is claimed, or the cleanup does.
        """
        commit = functools.partial(
            self._store.commit,
            taken.creation,
            placement,
            created_ms=taken.made_ms,
            idle_ms=taken.idle_ms,
            unasked=unasked,
            labels=taken.labels,
            env_lost=taken.had_env,
        )
        for pause in _COMMIT_PAUSES_SECONDS:
            try:
                return await commit()
            except StoreUnavailableError:
                await asyncio.sleep(pause)
        return await commit()

    async def _env(self, creation: Creation) -> Variables | None:
        """Return the variables that the sandbox's commands are to get; None when none were given."""
        if not creation.env_version:
            return None
        return Variables(await self._store.env(creation.sandbox_id), creation.env_version)

    async def _obtain(self, creation: Creation, *, make: bool, keep_idle: bool) -> Taken:
        """Adopt the thread's newest object that is still wanted, or make one."""
        candidates = await self._candidates(creation)
        newest = max((o.labels.generation for o in candidates if o.labels), default=0)
        restart = creation.placement is not None
        # A restart keeps its generation, unless the store went back behind what it had labelled.
        if newest > creation.generation or (newest == creation.generation and not restart):
            lifted = await self._store.renew(creation, above_generation=newest)
            creation = dataclasses.replace(creation, generation=lifted.generation)
        for candidate in candidates:
            idle_ms = candidate.labels.idle_ms if candidate.labels and keep_idle else 0
            labels = labels_for(creation, idle_ms or creation.idle_ms, candidate.labels)
            try:
                adopted = await self._runtime.adopt(candidate, labels)
            except SandboxLostError:
                continue
            return Taken(creation, adopted, candidate.claimed, idle_ms)
        if restart or not make:
            raise SandboxLostError("The sandbox's files are gone. Acquire again for a new one.")
        made = await self._runtime.create(labels_for(creation, creation.idle_ms))
        return Taken(creation, made, found=False)

    async def _candidates(self, creation: Creation) -> list[SandboxObject]:
        """Return what may be adopted: for a restart only the lease's own object.

        What is doomed is ended first, as whoever doomed it may not have come to that: a thread
        has no two sandboxes that live. So is what is as old as the last sandbox that ended: a
        release that came while it was being adopted could doom nothing.
        """
        found = await self._runtime.find(creation.thread)
        doomed = await end_doomed_among(self._store, self._runtime, found)
        own = creation.placement.uid if creation.placement else ""
        candidates: list[SandboxObject] = []
        for sandbox in found:
            labels = sandbox.labels
            if labels is None or sandbox.uid in doomed or own not in ("", sandbox.uid):
                continue
            if not own and labels.generation <= creation.ended_generation:
                over = creation.ended_generation
                await self._runtime.stop(sandbox.uid, sandbox.name, generation=over)
            else:
                candidates.append(sandbox)
        return candidates

    async def _refuse_conflict(self, taken: Taken) -> None:
        """End an object that belongs to another, unless there are files in it.

        Raises:
            SandboxUnavailableError: It has files that were there before, or cannot be ended yet.
        """
        name = taken.sandbox.name
        if taken.found:
            raise SandboxUnavailableError(
                f"Sandbox {name} of thread {taken.creation.thread.thread_id!r} was claimed with "
                "another token key (PROVISIONER_TOKEN_KEY), or its note of that is damaged. Set "
                "that key again to go on with its files, or release the thread to give them up."
            )
        log.warning("Sandbox %s belongs to another; taking the next", name)
        if not await self._stop(taken):
            raise SandboxUnavailableError(f"Sandbox {name} is another's and ends. Try again.")

    async def _stop(self, taken: Taken) -> bool:
        """End an object, unless a successor of this creation has labelled it as its own."""
        sandbox, generation = taken.sandbox, taken.creation.generation
        return await self._runtime.stop(sandbox.uid, sandbox.name, generation=generation)

    async def _let_go(self, taken: Taken | None) -> None:
        """After losing the creation: end what was made, unless it may be somebody's.

        The store says so, in the step that keeps a late commit of ours from taking place. What has
        files of before is left to its lease, or to the cleanup.
        """
        if taken is None or taken.found:
            return
        await self._give_up(taken.creation, taken)

    async def _give_up(self, creation: Creation, taken: Taken | None) -> None:
        """Free the thread and end what was made; the cleanup does what is left."""
        try:
            if taken is None:
                await self._store.abandon(creation)
                return
            uid, name = taken.sandbox.uid, taken.sandbox.name
            doomed = await self._store.abandon(taken.creation, uid=uid, name=name)
            if doomed is not None and await self._stop(taken):
                await self._store.forget(uid)
        except SandboxError as error:
            log.warning("A failed creation is left to the cleanup: %s", error)


def _may_go_on(error: SandboxError, creation: Creation, taken: Taken | None) -> bool:
    """Return whether a failed creation is left as it is for the next acquire, which looks again.

    So it is when the lease may have been committed, and when there are files and nothing says
    that they are lost. The creation lease lapses in its time.
    """
    if isinstance(error, StoreUnavailableError):
        return True
    if creation.placement is not None:
        return not isinstance(error, SandboxLostError)
    found = taken is not None and taken.found
    return found and not isinstance(error, SandboxLostError | SandboxStartError)
