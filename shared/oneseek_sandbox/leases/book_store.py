"""What the stores that keep a `LeaseBook` share: each method is one transition of the book."""

from __future__ import annotations

import secrets
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, TypeVar

from oneseek_sandbox.leases.doomed import doomed_among, next_due, take_doomed
from oneseek_sandbox.leases.keys import thread_tag
from oneseek_sandbox.leases.notices import Notices

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from oneseek_sandbox.leases.book import LeaseBook
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

__all__ = ["BookStore"]

_T = TypeVar("_T")


class BookStore(ABC):
    """A `LeaseStore` without its place: where the book is kept is up to a subclass.

    The port says what the methods promise.

    Args:
        look_ms: How often a waiter reads the book, for changes that no notice reached it about.
    """

    def __init__(self, look_ms: int) -> None:
        self._look_ms = look_ms
        self._notices = Notices()

    @abstractmethod
    async def open(self) -> None:
        """See that the book can be kept."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what was begun."""

    @abstractmethod
    async def _read(self, query: Callable[[LeaseBook, int], _T]) -> _T:
        """Return what `query`, which changes nothing, says of the book at the present time in ms."""

    @abstractmethod
    async def _change(self, transition: Callable[[LeaseBook, int], _T]) -> _T:
        """Apply a transition at the present time in ms, and return its answer once that is kept.

        What a transition did before it refused is kept, too. Calls `_wake` with the book's notices.
        """

    def _wake(self, threads: Iterable[Thread]) -> None:
        for thread in threads:
            self._notices.wake(thread_tag(thread))

    async def acquire(
        self,
        thread: Thread,
        *,
        attempt: str,
        idle_ms: int | None = None,
        lost: Lease | None = None,
        labels: str | None = None,
        env: str | None = None,
    ) -> Granted | Suspected | Creation | Busy:
        """Take the lease, or the right to create."""
        return await self._change(
            lambda book, now_ms: book.acquire(
                thread,
                now_ms=now_ms,
                attempt=attempt,
                sandbox_id=secrets.token_hex(16),
                idle_ms=idle_ms,
                lost=lost,
                labels=labels,
                env=env,
            )
        )

    async def restart(self, lease: Lease, *, attempt: str) -> Creation | Busy:
        """Begin to start a sandbox again."""
        return await self._change(
            lambda book, now_ms: book.restart(lease, now_ms=now_ms, attempt=attempt)
        )

    async def renew(self, creation: Creation, *, above_generation: int = 0) -> Creation:
        """Prolong a creation."""
        return await self._change(
            lambda book, now_ms: book.renew(
                creation, now_ms=now_ms, above_generation=above_generation
            )
        )

    async def commit(
        self,
        creation: Creation,
        placement: Placement,
        *,
        created_ms: int = 0,
        idle_ms: int = 0,
        unasked: bool = False,
        labels: str = "",
        env_lost: bool = False,
    ) -> Lease:
        """Make the lease ready."""
        return await self._change(
            lambda book, now_ms: book.commit(
                creation,
                placement,
                now_ms=now_ms,
                created_ms=created_ms,
                idle_ms=idle_ms,
                unasked=unasked,
                labels=labels,
                env_lost=env_lost,
            )
        )

    async def abandon(self, creation: Creation, *, uid: str = "", name: str = "") -> Doomed | None:
        """Give up a creation."""
        return await self._change(
            lambda book, now_ms: book.abandon(creation, now_ms=now_ms, uid=uid, name=name)
        )

    async def wait(self, thread: Thread, timeout_ms: int) -> None:
        """Wait until acquiring is worth another try."""

        async def busy_ms() -> int:
            return await self._read(lambda book, now_ms: book.busy_ms(thread, now_ms))

        await self._notices.wait(
            thread_tag(thread), busy_ms, timeout_ms=timeout_ms, look_ms=self._look_ms
        )

    async def resolve(self, sandbox_id: str) -> Resolved:
        """Return the thread of a `sandbox_id`."""
        return await self._change(lambda book, now_ms: book.resolve(sandbox_id, now_ms=now_ms))

    async def pin(
        self,
        thread: Thread,
        *,
        sandbox_id: str | None,
        pin_id: str,
        limit_ms: int,
        request: str | None = None,
        sent: str | None = None,
        busy_ms: int = 0,
    ) -> Lease:
        """Hold the lease for an operation."""
        return await self._change(
            lambda book, now_ms: book.pin(
                thread,
                now_ms=now_ms,
                sandbox_id=sandbox_id,
                pin_id=pin_id,
                limit_ms=limit_ms,
                request=request,
                sent=sent,
                busy_ms=busy_ms,
            )
        )

    async def unpin(self, lease: Lease, *, pin_id: str, unstarted: str | None = None) -> None:
        """Let the pin go."""
        await self._change(
            lambda book, now_ms: book.unpin(
                lease, now_ms=now_ms, pin_id=pin_id, unstarted=unstarted
            )
        )

    async def rest(self, lease: Lease) -> None:
        """Note that nothing runs in the background any more."""
        await self._change(lambda book, now_ms: book.rest(lease, now_ms=now_ms))

    async def suspect(self, lease: Lease) -> None:
        """Mark a lease."""
        await self._change(lambda book, _: book.suspect(lease))

    async def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        await self._change(lambda book, _: book.clear(lease))

    async def take_news(self, lease: Lease, *, teller: str) -> bool:
        """Return whether this acquire is to tell what is new."""
        return await self._change(
            lambda book, now_ms: book.take_news(lease, now_ms=now_ms, teller=teller)
        )

    async def settle_news(self, lease: Lease, *, teller: str, heard: bool) -> None:
        """Note what became of the news."""
        await self._change(lambda book, _: book.settle_news(lease, teller=teller, heard=heard))

    async def release(
        self, thread: Thread, *, sandbox_id: str | None, found_generation: int = 0
    ) -> Released:
        """End a lease now."""
        return await self._change(
            lambda book, now_ms: book.release(
                thread, now_ms=now_ms, sandbox_id=sandbox_id, found_generation=found_generation
            )
        )

    async def lose(self, lease: Lease) -> Doomed | None:
        """End a lease whose sandbox is gone."""
        return await self._change(lambda book, now_ms: book.lose(lease, now_ms=now_ms))

    async def expire(self, limit: int) -> Expired:
        """End what is over."""
        return await self._change(lambda book, now_ms: book.expire(limit, now_ms=now_ms))

    async def doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries."""
        return await self._read(lambda book, _: next_due(book.doomed, limit))

    async def take_doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries that are due, and put them off."""
        return await self._change(
            lambda book, now_ms: take_doomed(
                book.doomed, limit, now_ms=now_ms, pause_ms=book.terms.pause_ms
            )
        )

    async def doomed_among(self, uids: list[str]) -> dict[str, Doomed]:
        """Return the entries of those that are doomed."""
        return await self._read(lambda book, _: doomed_among(book.doomed, uids))

    async def forget(self, uid: str) -> None:
        """Drop a doomed entry."""
        await self._change(lambda book, _: book.doomed.pop(uid, None))

    async def get(self, thread: Thread) -> Lease | None:
        """Return the thread's lease."""

        def get(book: LeaseBook, now_ms: int) -> Lease | None:
            record = book.records.get(thread)
            return record.lease(now_ms) if record else None

        return await self._read(get)

    async def env(self, sandbox_id: str) -> str:
        """Return the variables that a lease was given."""

        def env(book: LeaseBook, _: int) -> str:
            thread = book.threads.get(sandbox_id)
            return book.records[thread].env if thread else ""

        return await self._read(env)

    async def leases(self) -> list[Lease]:
        """Return all leases."""
        return await self._read(
            lambda book, now_ms: [record.lease(now_ms) for record in book.records.values()]
        )

    async def count(self) -> int:
        """Return how many leases there are."""
        return await self._read(lambda book, _: len(book.records))

    async def once(self, name: str, ttl_ms: int) -> bool:
        """Return True for the first call with this name."""
        return await self._change(lambda book, now_ms: book.once(name, ttl_ms, now_ms=now_ms))
