"""Waking who waits for a thread, inside one process."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

__all__ = ["Notices"]


class Notices:
    """Waiters by name. A notice wakes those who were there before it, and nobody later."""

    def __init__(self) -> None:
        self._waiters: dict[str, set[asyncio.Future[None]]] = {}

    @contextmanager
    def expect(self, name: str) -> Iterator[asyncio.Future[None]]:
        """Give a future that the next notice about `name` completes."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.setdefault(name, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiters.get(name, set())
            waiters.discard(waiter)
            if not waiters:
                self._waiters.pop(name, None)

    async def wait(
        self,
        name: str,
        busy_ms: Callable[[], Awaitable[int]],
        *,
        timeout_ms: int,
        look_ms: int,
    ) -> None:
        """Wait for a notice about `name` for as long as it is busy, `timeout_ms` at most.

        Args:
            busy_ms: Asks how much longer; asked at least every `look_ms`, for lost notices.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_ms / 1000
        while True:
            # Expected before looking, so that a notice in between is not missed.
            with self.expect(name) as notice:
                rest = min((await busy_ms()) / 1000, end - loop.time(), look_ms / 1000)
                if rest <= 0:
                    return
                await asyncio.wait([notice], timeout=rest)

    def wake(self, name: str) -> None:
        """Give notice about `name`."""
        for waiter in self._waiters.pop(name, ()):
            if not waiter.done():
                waiter.set_result(None)

    def wake_all(self) -> None:
        """Give notice about everything: some may have been missed."""
        for name in list(self._waiters):
            self.wake(name)
