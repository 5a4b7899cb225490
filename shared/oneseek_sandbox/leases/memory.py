"""A lease store in this process's memory, for tests: no second process sees it."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.doomed import doomed_among, next_due, take_doomed
from oneseek_sandbox.leases.keys import thread_tag
from oneseek_sandbox.leases.notices import Notices
from oneseek_sandbox.leases.store import LeaseTerms

if TYPE_CHECKING:
    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.leases.store import (
        Busy,
        Creation,
        Doomed,
        Expired,
        Granted,
        Lease,
        Placement,
        Released,
        Resolved,
        Suspected,
        Thread,
    )

__all__ = ["MemoryLeaseStore"]

# The clock may be one that only tests move, so waiting looks at it as often as this.
_LOOK_MS = 10


class MemoryLeaseStore:
    """A `LeaseStore` over one `LeaseBook`; the port says what its methods promise."""

    def __init__(self, terms: LeaseTerms | None = None, clock: Clock | None = None) -> None:
        self._book = LeaseBook(terms or LeaseTerms())
        self._clock = clock or SystemClock()
        self._notices = Notices()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def acquire(
        self, thread: Thread, *, attempt: str, idle_ms: int | None = None, lost: Lease | None = None
    ) -> Granted | Suspected | Creation | Busy:
        """Take the lease, or the right to create."""
        outcome = self._book.acquire(
            thread,
            now_ms=self._clock.now_ms(),
            attempt=attempt,
            sandbox_id=secrets.token_hex(16),
            idle_ms=idle_ms,
            lost=lost,
        )
        self._tell()
        return outcome

    async def restart(self, lease: Lease, *, attempt: str) -> Creation | Busy:
        """Begin to start a sandbox again."""
        return self._book.restart(lease, now_ms=self._clock.now_ms(), attempt=attempt)

    async def renew(self, creation: Creation, *, above_generation: int = 0) -> Creation:
        """Prolong a creation."""
        return self._book.renew(
            creation, now_ms=self._clock.now_ms(), above_generation=above_generation
        )

    async def commit(
        self,
        creation: Creation,
        placement: Placement,
        *,
        created_ms: int = 0,
        idle_ms: int = 0,
        unasked: bool = False,
    ) -> Lease:
        """Make the lease ready."""
        lease = self._book.commit(
            creation,
            placement,
            now_ms=self._clock.now_ms(),
            created_ms=created_ms,
            idle_ms=idle_ms,
            unasked=unasked,
        )
        self._tell()
        return lease

    async def abandon(self, creation: Creation, *, uid: str = "", name: str = "") -> Doomed | None:
        """Give up a creation."""
        doomed = self._book.abandon(creation, now_ms=self._clock.now_ms(), uid=uid, name=name)
        self._tell()
        return doomed

    async def wait(self, thread: Thread, timeout_ms: int) -> None:
        """Wait until acquiring is worth another try."""

        async def busy_ms() -> int:
            return self._book.busy_ms(thread, self._clock.now_ms())

        await self._notices.wait(
            thread_tag(thread), busy_ms, timeout_ms=timeout_ms, look_ms=_LOOK_MS
        )

    async def resolve(self, sandbox_id: str) -> Resolved:
        """Return the thread of a `sandbox_id`."""
        return self._book.resolve(sandbox_id, now_ms=self._clock.now_ms())

    async def pin(
        self,
        thread: Thread,
        *,
        sandbox_id: str | None,
        pin_id: str,
        limit_ms: int,
        request: str | None = None,
    ) -> Lease:
        """Hold the lease for an operation."""
        return self._book.pin(
            thread,
            now_ms=self._clock.now_ms(),
            sandbox_id=sandbox_id,
            pin_id=pin_id,
            limit_ms=limit_ms,
            request=request,
        )

    async def unpin(self, lease: Lease, *, pin_id: str, unstarted: str | None = None) -> None:
        """Let the pin go."""
        self._book.unpin(lease, now_ms=self._clock.now_ms(), pin_id=pin_id, unstarted=unstarted)
        self._tell()

    async def suspect(self, lease: Lease) -> None:
        """Mark a lease."""
        self._book.suspect(lease)

    async def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        self._book.clear(lease)

    async def take_news(self, lease: Lease, *, teller: str) -> bool:
        """Return whether this acquire is to tell what is new."""
        return self._book.take_news(lease, now_ms=self._clock.now_ms(), teller=teller)

    async def settle_news(self, lease: Lease, *, teller: str, heard: bool) -> None:
        """Note what became of the news."""
        self._book.settle_news(lease, teller=teller, heard=heard)
        self._tell()

    async def release(
        self, thread: Thread, *, sandbox_id: str | None, found_generation: int = 0
    ) -> Released:
        """End a lease now."""
        released = self._book.release(
            thread,
            now_ms=self._clock.now_ms(),
            sandbox_id=sandbox_id,
            found_generation=found_generation,
        )
        self._tell()
        return released

    async def lose(self, lease: Lease) -> Doomed | None:
        """End a lease whose sandbox is gone."""
        doomed = self._book.lose(lease, now_ms=self._clock.now_ms())
        self._tell()
        return doomed

    async def expire(self, limit: int) -> Expired:
        """End what is over."""
        expired = self._book.expire(limit, now_ms=self._clock.now_ms())
        self._tell()
        return expired

    async def doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries."""
        return next_due(self._book.doomed, limit)

    async def take_doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries that are due, and put them off."""
        book, now_ms = self._book, self._clock.now_ms()
        return take_doomed(book.doomed, limit, now_ms=now_ms, pause_ms=book.terms.pause_ms)

    async def doomed_among(self, uids: list[str]) -> dict[str, Doomed]:
        """Return the entries of those that are doomed."""
        return doomed_among(self._book.doomed, uids)

    async def forget(self, uid: str) -> None:
        """Drop a doomed entry."""
        self._book.doomed.pop(uid, None)

    async def get(self, thread: Thread) -> Lease | None:
        """Return the thread's lease."""
        record = self._book.records.get(thread)
        return record.lease(self._clock.now_ms()) if record else None

    async def leases(self) -> list[Lease]:
        """Return all leases."""
        now_ms = self._clock.now_ms()
        return [record.lease(now_ms) for record in self._book.records.values()]

    async def count(self) -> int:
        """Return how many leases there are."""
        return len(self._book.records)

    async def once(self, name: str, ttl_ms: int) -> bool:
        """Return True for the first call with this name."""
        return self._book.once(name, ttl_ms, now_ms=self._clock.now_ms())

    def _tell(self) -> None:
        threads, self._book.notices = self._book.notices, []
        for thread in threads:
            self._notices.wake(thread_tag(thread))
