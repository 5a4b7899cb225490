"""The lease store in a file: for the processes of one machine, without a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.leases.book_file import BookFile
from oneseek_sandbox.leases.book_store import BookStore
from oneseek_sandbox.leases.keeper import BookKeeper
from oneseek_sandbox.leases.store import LeaseTerms

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.leases.book import LeaseBook

__all__ = ["FileLeaseStore"]

_T = TypeVar("_T")

# How often a waiter looks at the file, for what other processes do: only notices of our own process
# reach it. A creation takes longer than this, and a look costs a tenth of a millisecond.
_LOOK_MS: Final = 50
_PATIENCE_SECONDS: Final = 5.0


class FileLeaseStore(BookStore):
    """A `LeaseStore` for the processes of one machine.

    The whole book is rewritten by each transition, under a lock (`book_file.py`), on the machine's
    clock. Nothing is promised on network file systems: their locks may not hold between machines,
    and the machines' clocks differ. The file has the workers' tokens in it, and mode 0600.

    Args:
        home: State folder; the file is `leases/book` there.
        patience_seconds: How long a call waits for another process that has the lock.
    """

    def __init__(
        self,
        home: Path,
        terms: LeaseTerms | None = None,
        clock: Clock | None = None,
        *,
        patience_seconds: float = _PATIENCE_SECONDS,
    ) -> None:
        super().__init__(_LOOK_MS)
        file = BookFile(home, terms or LeaseTerms())
        self._keeper = BookKeeper(file, clock or SystemClock(), self._wake, patience_seconds)

    async def open(self) -> None:
        """Make the folder, and refuse a file that is not sound."""
        await self._keeper.open()

    async def close(self) -> None:
        """Finish what was begun."""
        await self._keeper.close()

    async def _read(self, query: Callable[[LeaseBook, int], _T]) -> _T:
        return await self._keeper.look(query)

    async def _change(self, transition: Callable[[LeaseBook, int], _T]) -> _T:
        return await self._keeper.change(transition)
