"""Looks at, and changes, the book in a file from coroutines: one thread, one rewrite for many calls."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.errors import ConfigurationError, SandboxError, StoreUnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.leases.book import LeaseBook
    from oneseek_sandbox.leases.book_file import BookFile
    from oneseek_sandbox.leases.store import Thread

__all__ = ["BookKeeper"]

_T = TypeVar("_T")

# On top of the wait for the lock: how long a disk may take before a call is given up.
_DISK_SECONDS: Final = 5.0
_ERRORS_OF_THE_STORE: Final = (ConfigurationError, StoreUnavailableError)


class BookKeeper:
    """The way from an event loop to the file.

    All that touches the file happens in one thread of our own: in turn, off the event loop, and
    without taking the threads that others need. Whoever comes while the file is being written
    shares the next rewrite: it costs an fsync, and a hundred calls at once must not cost a hundred.

    Args:
        wake: Called in the event loop with the threads whose waiters should look again.
        patience_seconds: How long to wait for a lock that another process has.
    """

    def __init__(
        self,
        file: BookFile,
        clock: Clock,
        wake: Callable[[list[Thread]], None],
        patience_seconds: float,
    ) -> None:
        self._file = file
        self._clock = clock
        self._wake = wake
        self._patience_seconds = patience_seconds
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="leases")
        self._due: deque[_Call] = deque()

    async def open(self) -> None:
        """Prepare the file.

        Raises:
            ConfigurationError: It cannot be used.
            StoreUnavailableError: Somebody has the lock.
        """
        until = time.monotonic() + self._patience_seconds
        await self._in_time(asyncio.wrap_future(self._submit(self._file.prepare, until)))

    async def close(self) -> None:
        """Finish what was begun, as far as the disk answers, and let the thread go."""
        with suppress(StoreUnavailableError):
            await self._in_time(asyncio.wrap_future(self._submit(lambda: None)))
        self._thread.shutdown(wait=False)

    async def look(self, at: Callable[[LeaseBook, int], _T]) -> _T:
        """Return what a function that changes nothing says of the book and the time in ms.

        Raises:
            StoreUnavailableError: The file cannot be read, or is not sound.
        """

        def answer() -> _T:
            return at(self._file.read(), self._clock.now_ms())

        return await self._answered(self._submit(answer))

    async def change(self, transition: Callable[[LeaseBook, int], _T]) -> _T:
        """Apply a transition at the present time in ms, and return its answer once that is kept.

        Raises:
            StoreUnavailableError: It may have been applied all the same.
            SandboxError: What the transition raised; what it did before that is kept, too.
        """
        until = time.monotonic() + self._patience_seconds
        call = _Call(transition, until, asyncio.get_running_loop())
        self._due.append(call)
        self._submit(self._apply_due)
        return await self._answered(call.answer)

    def _submit(self, work: Callable[..., _T], *args: object) -> Future[_T]:
        try:
            return self._thread.submit(work, *args)
        except RuntimeError as error:
            raise StoreUnavailableError(
                "This server is shutting down and has closed its lease store; try again."
            ) from error

    async def _answered(self, answer: Future[_T]) -> _T:
        try:
            return await self._in_time(asyncio.wrap_future(answer))
        except _ERRORS_OF_THE_STORE as error:
            # One error may be the answer to many calls; each gets its own to raise.
            raise StoreUnavailableError(error.message) from error

    async def _in_time(self, answer: Awaitable[_T]) -> _T:
        try:
            async with asyncio.timeout(self._patience_seconds + _DISK_SECONDS):
                return await answer
        except TimeoutError as error:
            raise StoreUnavailableError(
                f"The disk under {self._file.folder} does not respond. Try again; if this persists, "
                "its operator should look at that disk."
            ) from error

    def _apply_due(self) -> None:
        """Apply all that is due, in one rewrite; whoever is late to its own turn was in an earlier."""
        if not self._due:
            return
        until = self._due[0].until
        calls: list[_Call] = []
        try:
            with self._file.changing(until) as book:
                calls += self._take(float("inf"))
                for call in calls:
                    call.apply(book, self._clock.now_ms())
                threads, book.notices = book.notices, []
        except Exception as error:  # noqa: BLE001 - those who wait must hear of it, whatever it is
            for call in calls or self._take(until):
                call.answer.set_exception(error)
            return
        if threads:
            with suppress(RuntimeError):  # the loop is closed: nobody waits there any more
                calls[0].loop.call_soon_threadsafe(self._wake, threads)
        for call in calls:
            call.settle()

    def _take(self, until: float) -> list[_Call]:
        """Return what is due by then and was not given up by its caller."""
        taken = []
        while self._due and self._due[0].until <= until:
            taken.append(self._due.popleft())
        return [call for call in taken if call.answer.set_running_or_notify_cancel()]


@dataclass(slots=True)
class _Call:
    transition: Callable[[LeaseBook, int], Any]
    until: float
    loop: asyncio.AbstractEventLoop
    answer: Future[Any] = field(default_factory=Future)
    outcome: object = None
    refused: SandboxError | None = None

    def apply(self, book: LeaseBook, now_ms: int) -> None:
        """Note what the transition answers, or in which words it refuses."""
        try:
            self.outcome = self.transition(book, now_ms)
        except SandboxError as error:
            self.refused = error

    def settle(self) -> None:
        """Pass the answer on, now that it is true."""
        if self.refused is not None:
            self.answer.set_exception(self.refused)
        else:
            self.answer.set_result(self.outcome)
