"""A lease store in this process's memory, for tests: no second process sees it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.book_store import BookStore
from oneseek_sandbox.leases.store import LeaseTerms

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.clock import Clock

__all__ = ["MemoryLeaseStore"]

_T = TypeVar("_T")

# The clock may be one that only tests move, so waiting looks at it as often as this.
_LOOK_MS: Final = 10


class MemoryLeaseStore(BookStore):
    """A `LeaseStore` over one `LeaseBook` that ends with the process."""

    def __init__(self, terms: LeaseTerms | None = None, clock: Clock | None = None) -> None:
        super().__init__(_LOOK_MS)
        self._book = LeaseBook(terms or LeaseTerms())
        self._clock = clock or SystemClock()

    async def open(self) -> None:
        """Nothing to connect to."""

    async def close(self) -> None:
        """Nothing to let go of."""

    async def _read(self, query: Callable[[LeaseBook, int], _T]) -> _T:
        return query(self._book, self._clock.now_ms())

    async def _change(self, transition: Callable[[LeaseBook, int], _T]) -> _T:
        try:
            return transition(self._book, self._clock.now_ms())
        finally:
            threads, self._book.notices = self._book.notices, []
            self._wake(threads)
