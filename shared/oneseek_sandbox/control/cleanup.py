"""What `cleanup_idle` does: end what is over, delete what is doomed, and now and then compare.

Expiry costs what expired. The sweep that compares leases with the runtime's objects is rare: it
finds sandboxes that lost their lease (the store was emptied) and leases that lost their sandbox.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import secrets
from typing import TYPE_CHECKING, Final, TypeVar

from oneseek_sandbox.control.ending import delete_doomed
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.leases.facts import log_end, log_start
from oneseek_sandbox.leases.store import Creation
from oneseek_sandbox.models import CleanupIdleAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from oneseek_sandbox.control.creation import Creator
    from oneseek_sandbox.control.judgement import Judge
    from oneseek_sandbox.leases.store import Doomed, Lease, LeaseStore, Thread
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject

__all__ = ["Cleanup", "clean_up_every"]

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_BATCH: Final = 100
_MOST_BATCHES: Final = 100
"""Of one round, so that it ends; the next one goes on."""
_AT_ONCE: Final = 16
_UNCLAIMED_GRACE_MS: Final = 30_000


async def clean_up_every(
    seconds: float, clean_up: Callable[[], Awaitable[CleanupIdleAnswer]]
) -> None:
    """Do a round every so many seconds, for ever; one that fails is only logged."""
    while True:
        await asyncio.sleep(seconds)
        try:
            done = await clean_up()
        except SandboxError as error:
            log.warning("A cleanup failed and will be retried: %s", error)
        except Exception:
            log.exception("A cleanup failed and is tried again")
        else:
            if any(done.model_dump().values()):
                log.info("Cleaned up: %s", done.model_dump_json())


class Cleanup:
    """One round of cleaning; any number of processes may run rounds at the same time.

    Args:
        sweep_ms: The comparison with the runtime is done at most once in this time.
        now_ms: The wall clock, to judge the age of objects that nobody claimed.
    """

    def __init__(
        self,
        store: LeaseStore,
        runtime: Runtime,
        creator: Creator,
        judge: Judge,
        *,
        sweep_ms: int,
        now_ms: int,
    ) -> None:
        self._store = store
        self._runtime = runtime
        self._creator = creator
        self._judge = judge
        self._sweep_ms = sweep_ms
        self._now_ms = now_ms

    async def run(self) -> CleanupIdleAnswer:
        """Expire, delete, and compare when it is time to."""
        expired = await self._expire()
        # Before anybody is asked who may not answer.
        await self._delete_doomed()
        adopted = lost = orphans = 0
        if await self._store.once("sweep", self._sweep_ms):
            objects = await self._runtime.list()
            leases = {lease.thread: lease for lease in await self._store.leases()}
            # First, so that what was made after a backup is adopted where that of the backup is gone.
            gone = await self._settle_leases(leases, {sandbox.uid for sandbox in objects})
            lost = len(gone)
            leases = {thread: lease for thread, lease in leases.items() if thread not in gone}
            adopted, orphans = await self._settle_objects(objects, leases)
            expired += await self._expire_rested(leases.values())
            await self._delete_doomed()
        await self._runtime.maintain()
        return CleanupIdleAnswer(expired=expired, adopted=adopted, lost=lost, orphans=orphans)

    async def _expire(self) -> int:
        expired = 0
        for _ in range(_MOST_BATCHES):
            ended = await self._store.expire(_BATCH)
            expired += len(ended.doomed)
            if not ended.more:
                break
        return expired

    async def _expire_rested(self, leases: Iterable[Lease]) -> int:
        """End idle sandboxes that were held for processes in the background, which have ended."""
        held = [
            lease
            for lease in leases
            if lease.busy_until_ms and lease.expires_ms <= self._now_ms and not lease.pins
        ]

        async def rest(lease: Lease) -> None:
            if await self._judge.is_resting(lease):
                await self._store.rest(lease)

        await _each(held, rest)
        return await self._expire() if held else 0

    async def _delete_doomed(self) -> None:
        """Ask all that is due to end, first what never was: nothing that stays delays it."""
        due: list[Doomed] = []
        for _ in range(_MOST_BATCHES):
            taken = await self._store.take_doomed(_BATCH)
            due += taken
            if len(taken) < _BATCH:
                break
        await _each(
            sorted(due, key=lambda entry: entry.tries),
            functools.partial(delete_doomed, self._store, self._runtime),
        )

    async def _settle_objects(
        self, objects: list[SandboxObject], leases: dict[Thread, Lease]
    ) -> tuple[int, int]:
        """Adopt objects without a lease; end those that a lease has replaced, or nobody claimed."""
        listed = {sandbox.uid for sandbox in objects}
        doomed = await self._store.doomed_among(sorted(listed))
        adopted = orphans = 0

        async def settle(sandbox: SandboxObject) -> None:
            nonlocal adopted, orphans
            if sandbox.labels is None or sandbox.uid in doomed:
                return
            lease = leases.get(sandbox.labels.thread)
            try:
                if lease is None and sandbox.claimed:
                    if await self._adopt(sandbox.labels.thread):
                        adopted += 1
                elif _is_orphan(sandbox, lease, listed, self._now_ms):
                    # Only as it was seen; with a greater one than the lease it is of a time that
                    # the store has forgotten.
                    seen = sandbox.labels.generation
                    if await self._runtime.stop(sandbox.uid, sandbox.name, generation=seen):
                        orphans += 1
                        labels = sandbox.labels
                        log_end(labels.thread, labels.sandbox_id, sandbox.name, "orphan")
            except SandboxError as error:
                log.warning("Sandbox %s is left for the next sweep: %s", sandbox.name, error)

        await _each(objects, settle)
        return adopted, orphans

    async def _adopt(self, thread: Thread) -> bool:
        outcome = await self._store.acquire(thread, attempt=secrets.token_hex(16))
        if not isinstance(outcome, Creation):
            return False
        # Released since the runtime was asked, it is gone by now; a new one is not wanted.
        created = await self._creator.create(outcome, unasked=True, keep_idle=True)
        log_start(created.lease, found=created.found)
        return created.found

    async def _settle_leases(self, leases: dict[Thread, Lease], seen: set[str]) -> set[Thread]:
        """Look at leases under suspicion or without an object in the list; returns which were lost."""
        lost: set[Thread] = set()

        async def settle(lease: Lease) -> None:
            placement = lease.placement
            if lease.state != "ready" or placement is None:
                return
            if placement.uid in seen and not lease.suspect:
                return
            try:
                if await self._settle_lease(lease):
                    lost.add(lease.thread)
            except SandboxError as error:
                log.warning("Sandbox %s stays under suspicion: %s", placement.name, error)

        await _each(leases.values(), settle)
        return lost

    async def _settle_lease(self, lease: Lease) -> bool:
        """Return whether a lease was lost; a worker that took another's place is claimed again.

        What has stopped is started again only when its thread comes back.
        """
        if lease.suspect and await self._judge.answers(lease):
            return False
        verdict = await self._judge.judge(lease)
        if verdict == "gone":
            return await self._store.lose(lease) is not None
        if verdict == "replaced" and (restart := await self._judge.restart(lease)):
            await self._creator.create(restart, unasked=True)
        return False


async def _each(items: Iterable[_T], do: Callable[[_T], Awaitable[None]]) -> None:
    """Do it for all, some at a time, so that one that does not answer holds up no other."""
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(item: _T) -> None:
        async with places:
            await do(item)

    ended = await asyncio.gather(*(one(item) for item in items), return_exceptions=True)
    for error in filter(None, ended):
        raise error


def _is_orphan(sandbox: SandboxObject, lease: Lease | None, listed: set[str], now_ms: int) -> bool:
    created_ms = sandbox.labels.created_ms if sandbox.labels else now_ms
    generation = sandbox.labels.generation if sandbox.labels else 0
    if lease is None:
        return not sandbox.claimed and now_ms - created_ms > _UNCLAIMED_GRACE_MS
    if lease.state != "ready" or lease.placement is None or lease.placement.uid == sandbox.uid:
        return False
    # The files of a time that the store has forgotten are the thread's if the lease's are not there.
    return generation <= lease.generation or lease.placement.uid in listed
