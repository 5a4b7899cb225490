"""Notices from other processes: one subscription per store, opened when first needed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from redis.exceptions import RedisError

from oneseek_sandbox.lasting import cut
from oneseek_sandbox.leases.notices import Notices

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.leases.connection import RedisConnection

__all__ = ["Subscription"]

_PAUSE_SECONDS = 0.25


class Subscription:
    """Passes what is published on a channel to local waiters.

    A lost connection is made anew; until then `notices` stays silent, so waiters must also look
    for themselves now and then.
    """

    def __init__(self, connection: RedisConnection, channel: str) -> None:
        self.notices = Notices()
        self._connection = connection
        self._channel = channel
        self._task: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def wait(
        self, name: str, busy_ms: Callable[[], Awaitable[int]], *, timeout_ms: int, look_ms: int
    ) -> None:
        """Wait as `Notices.wait` does, for notices from all processes."""
        await self._start(min(timeout_ms, look_ms))
        await self.notices.wait(name, busy_ms, timeout_ms=timeout_ms, look_ms=look_ms)

    async def _start(self, timeout_ms: int) -> None:
        """Return when notices arrive from now on, or after `timeout_ms`."""
        if self._task is None:
            self._task = asyncio.create_task(self._listen())
        if not self._listening.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._listening.wait(), timeout_ms / 1000)

    async def stop(self) -> None:
        """End the subscription."""
        if self._task is not None:
            await cut(self._task)
            self._task = None

    async def _listen(self) -> None:
        while True:
            with contextlib.suppress(RedisError, OSError):
                await self._receive()
            self._listening.clear()
            self.notices.wake_all()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _receive(self) -> None:
        async with self._connection.pubsub() as pubsub:
            await pubsub.subscribe(self._channel)
            while True:
                message = await pubsub.get_message(timeout=5)
                if message is None:
                    continue
                if message["type"] == "subscribe":
                    self._listening.set()
                elif message["type"] == "message":
                    self.notices.wake(message["data"])
