"""Work that goes on to its end when whoever asked for it goes away."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine

__all__ = ["Lasting"]

_T = TypeVar("_T")


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

    async def close(self, *, within_seconds: float | None = None) -> None:
        """Wait until all has ended, and cut what takes longer; None waits as long as it takes."""
        if self._under_way:
            _, late = await asyncio.wait(self._under_way, timeout=within_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
