"""Acquiring: reuse the thread's sandbox, look at one under suspicion, or create."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.control.ending import Releases
from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxLostError,
    SandboxUnavailableError,
    UnavailableError,
)
from oneseek_sandbox.lasting import Lasting
from oneseek_sandbox.leases.facts import log_start
from oneseek_sandbox.leases.store import Busy, Creation, Granted
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.workers.features import require

if TYPE_CHECKING:
    from oneseek_sandbox.control.creation import Created, Creator
    from oneseek_sandbox.control.judgement import Judge
    from oneseek_sandbox.leases.store import Lease, LeaseStore, Thread
    from oneseek_sandbox.runtimes.runtime import Runtime

__all__ = ["Acquired", "Acquisition", "Wanted"]

log = logging.getLogger(__name__)

_CLOSE_SECONDS: Final = 10.0
_SETTLE_PAUSES_SECONDS: Final = (0.1, 0.5, 1.0, 2.0)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an acquire asks for; None leaves what the lease has.

    Attributes:
        labels: As `write_mapping` has them.
        env: Likewise, the variables of all commands.
    """

    idle_ms: int | None = None
    labels: str | None = None
    env: str | None = field(default=None, repr=False)

    def changes(self, lease: Lease) -> bool:
        """Return whether the sandbox of this lease says something else of itself."""
        relabels = self.labels not in (None, lease.labels)
        return relabels or (self.env is not None and lease.env_version == 0)


@dataclass(frozen=True, slots=True)
class Acquired:
    """A ready lease, and the news of its sandbox that this acquire is to tell.

    Attributes:
        fresh: Its workspace was made empty, and no acquire has reported it.
        restarted: Its processes were lost and its files kept, and no acquire has reported it.
        teller: What the news were taken with; empty when there are none.
    """

    lease: Lease
    fresh: bool = False
    restarted: bool = False
    teller: str = ""


class Acquisition:
    """The control plane's part of the provisioner.

    Args:
        patience_seconds: How long one acquire may take in all.
    """

    def __init__(
        self,
        store: LeaseStore,
        runtime: Runtime,
        creator: Creator,
        judge: Judge,
        *,
        patience_seconds: float,
    ) -> None:
        self.runtime = runtime
        self.creator = creator
        self.judge = judge
        self._store = store
        self._patience_seconds = patience_seconds
        self.releases = Releases(store, runtime)
        self._creating = Lasting()
        self._telling = Lasting()

    async def close(self, *, within_seconds: float = _CLOSE_SECONDS) -> None:
        """Let creations and releases under way end, then let go of the runtime.

        One that takes longer is cut: whoever acquires next takes it over.
        """
        await asyncio.gather(
            self._creating.close(within_seconds=within_seconds),
            self._telling.close(within_seconds=within_seconds),
            self.releases.close(within_seconds=within_seconds),
        )
        await self.runtime.close()

    async def acquire(
        self,
        thread: Thread,
        *,
        idle_ms: int | None,
        labels: str | None = None,
        env: str | None = None,
    ) -> Acquired:
        """Return the thread's ready lease, and what is to be reported of its sandbox.

        Once the answer was delivered, or is known not to be, `settle_news` has to be called.

        Args:
            labels: As `write_mapping` has them; None, as of the others, leaves what is there.
            env: Likewise, the variables of all commands.

        Raises:
            SandboxTooOldError: Its worker cannot be given variables.
            SandboxUnavailableError: It took longer than the patience allows.
        """
        wanted = Wanted(idle_ms, labels, env)
        try:
            async with asyncio.timeout(self._patience_seconds):
                while True:
                    lease = await self._acquire(thread, wanted)
                    if not (
                        lease.placement and (lease.placement.fresh or lease.placement.restarted)
                    ):
                        return Acquired(lease)
                    if acquired := await self._take_news(lease):
                        return acquired
                    # Another is about to tell it, or the lease is over since: asked again, the
                    # store lets us wait for that.
        except TimeoutError:
            raise SandboxUnavailableError(
                f"The thread's sandbox did not become ready within {self._patience_seconds:g} s. "
                "Try again."
            ) from None

    async def settle_news(self, acquired: Acquired, *, heard: bool) -> None:
        """Note what became of the news; reporting it twice is better than never."""
        if acquired.teller:
            # A task of its own: the scope of a caller that left cancels every await in it.
            await self._telling.see_through(self._settle(acquired.lease, acquired.teller, heard))

    async def _settle(self, lease: Lease, teller: str, heard: bool) -> None:
        """Note it now, or in a while: within a teller's time nobody else tells it."""
        try:
            await self._store.settle_news(lease, teller=teller, heard=heard)
        except UnavailableError:
            self._telling.begin(self._settle_later(lease, teller, heard))

    async def _settle_later(self, lease: Lease, teller: str, heard: bool) -> None:
        for pause in _SETTLE_PAUSES_SECONDS:
            await asyncio.sleep(pause)
            try:
                await self._store.settle_news(lease, teller=teller, heard=heard)
            except UnavailableError as error:
                reason = error
            else:
                return
        log.warning(
            "A later acquire will report again that a sandbox is new or restarted: %s", reason
        )

    async def _take_news(self, lease: Lease) -> Acquired | None:
        """Take what there is to tell; None when it is not for us, or not any more."""
        placement, teller = lease.placement, secrets.token_hex(8)
        assert placement is not None  # noqa: S101 - the caller has looked
        taking = self._telling.begin(self._store.take_news(lease, teller=teller))
        try:
            taken = await asyncio.shield(taking)
        except asyncio.CancelledError:
            self._telling.begin(self._give_back(taking, lease, teller))
            raise
        return Acquired(lease, placement.fresh, placement.restarted, teller) if taken else None

    async def _give_back(self, taking: asyncio.Task[bool], lease: Lease, teller: str) -> None:
        """Let others tell what was taken for a caller that left meanwhile."""
        with contextlib.suppress(UnavailableError):
            if await taking:
                await self._settle(lease, teller, heard=False)

    async def _acquire(self, thread: Thread, wanted: Wanted) -> Lease:
        lost: Lease | None = None
        while True:
            await self._annotate(thread, wanted)
            outcome = await self._store.acquire(
                thread,
                attempt=secrets.token_hex(16),
                idle_ms=wanted.idle_ms,
                lost=lost,
                labels=wanted.labels,
                env=wanted.env,
            )
            if isinstance(outcome, Busy):
                await self._store.wait(thread, outcome.wait_ms)
            elif isinstance(outcome, Creation):
                # Taken over, released or ended meanwhile: what is the thread's lease now?
                with contextlib.suppress(CreationLostError, SandboxLostError):
                    return await self._create(outcome, keep_idle=wanted.idle_ms is None)
            elif await self.judge.answers(outcome.lease, idle_ms=outcome.lease.idle_ms):
                if isinstance(outcome, Granted):
                    return outcome.lease
                # The suspicion is gone; asked again, the store counts this as activity.
            else:
                verdict = await self.judge.judge(outcome.lease)
                if verdict == "gone":
                    lost = outcome.lease
                elif verdict != "answers" and (restart := await self.judge.restart(outcome.lease)):
                    with contextlib.suppress(CreationLostError, SandboxLostError):
                        return await self._create(restart)

    async def _annotate(self, thread: Thread, wanted: Wanted) -> None:
        """Have the sandbox say what its lease is about to be given, should the store forget it.

        Before the store, which then shows what is there already: a try that failed is repeated.
        """
        if wanted.labels is None and wanted.env is None:
            return
        lease = await self._store.get(thread)
        placement = lease.placement if lease else None
        if lease is None or placement is None:
            return
        if wanted.env is not None:
            require(lease, "env", "env")
        if wanted.changes(lease):
            labels = Labels(
                thread,
                lease.generation,
                lease.idle_ms,
                lease.sandbox_id,
                labels=lease.labels if wanted.labels is None else wanted.labels,
                env=wanted.env is not None or lease.env_version > 0 or lease.env_lost,
            )
            # Gone or another's: the store will find out, too.
            with contextlib.suppress(CreationLostError, SandboxLostError):
                await self.runtime.annotate(placement.uid, placement.name, labels)

    async def _create(self, creation: Creation, *, keep_idle: bool = False) -> Lease:
        """Create to the end even when the caller goes away: the next acquire finds it ready."""
        task = self._creating.begin(self.creator.create(creation, keep_idle=keep_idle))
        task.add_done_callback(_tell_of_creation)
        return (await asyncio.shield(task)).lease


def _tell_of_creation(task: asyncio.Task[Created]) -> None:
    if task.cancelled():
        return
    if (error := task.exception()) is not None:
        log.warning("A creation failed: %s", error)
    else:
        log_start(task.result().lease, found=task.result().found)
