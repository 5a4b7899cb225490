"""Work that goes on when whoever asked for it goes away, and work that many share."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

__all__ = ["Lasting", "Shared", "cut"]

_T = TypeVar("_T")

_CLOSE_SECONDS: Final = 10.0
_CUT_SECONDS: Final = 2.0
"""What is cancelled has this long to tidy up; a cancellation can also be lost on its way."""


async def cut(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait a moment for their end; what became of them is not reported."""
    for task in tasks:
        task.cancel()
    if tasks:
        done, _ = await asyncio.wait(tasks, timeout=_CUT_SECONDS)
        await asyncio.gather(*done, return_exceptions=True)


class Lasting:
    """What is under way, whether somebody waits for it or not."""

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[Any]] = set()

    def begin(self, work: Coroutine[Any, Any, _T]) -> asyncio.Task[_T]:
        """Begin something, and return its task; cancelling that cancels the work."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        return task

    async def see_through(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Do something to its end; one who is cancelled while waiting for it leaves it going on."""
        return await asyncio.shield(self.begin(work))

    async def close(self, *, within_seconds: float = _CLOSE_SECONDS) -> None:
        """Wait until all has ended, and cut what takes longer."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=within_seconds)
            await cut(*late)


class Shared(Generic[_T]):
    """A costly look at something, one at a time: all who ask while one is taken share the next."""

    def __init__(self, look: Callable[[], Awaitable[_T]]) -> None:
        self._look = look
        self._now: asyncio.Task[_T] | None = None
        self._next: asyncio.Task[_T] | None = None

    async def look(self) -> _T:
        """Return what is seen by a look that began after this call."""
        if self._next is None:
            self._next = asyncio.create_task(self._after(self._now))
        return await asyncio.shield(self._next)

    async def _after(self, before: asyncio.Task[_T] | None) -> _T:
        if before is not None:
            await asyncio.wait({before})
        self._now, self._next = self._next, None
        return await self._look()
