"""The connections to workers that are kept for the next request."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.workers.connection import connect
from oneseek_sandbox.workers.wire import NotReachedError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.workers.connection import Peer
    from oneseek_sandbox.workers.request import Answer, Request
    from oneseek_sandbox.workers.wire import Wire

__all__ = ["WirePool"]

_MAX_REQUESTS: Final = 1024
_MAX_IDLE: Final = 128
_IDLE_SECONDS: Final = 20.0  # shorter than the worker's own patience with idle connections
_CONNECT_SECONDS: Final = 5.0


class WirePool:
    """Connections to any number of workers; what a request costs does not depend on how many."""

    def __init__(self) -> None:
        self._free = asyncio.Semaphore(_MAX_REQUESTS)
        self._idle: dict[Peer, list[Wire]] = {}
        self._since: OrderedDict[Wire, tuple[Peer, float]] = OrderedDict()  # the oldest first

    def close(self) -> None:
        """Close what is idle."""
        while self._since:
            self._close_oldest()

    @asynccontextmanager
    async def asked(self, peer: Peer, request: Request) -> AsyncIterator[Answer]:
        """Send a request to a worker; inside, the head of its answer is there.

        Raises:
            WireError: And what `connect` raises.
        """
        await self._wait_for_room()
        try:
            wire = self._take(peer) or await connect(peer, _CONNECT_SECONDS)
            try:
                async with wire.asked(request) as answer:
                    yield answer
            finally:
                self._keep(peer, wire)
        finally:
            self._free.release()

    async def _wait_for_room(self) -> None:
        if not self._free.locked():
            await self._free.acquire()
            return
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await self._free.acquire()
        except TimeoutError:
            raise NotReachedError(f"{_MAX_REQUESTS} requests are under way") from None

    def _take(self, peer: Peer) -> Wire | None:
        while wires := self._idle.get(peer):
            wire = wires[-1]
            self._drop(peer, wire)
            if wire.is_usable:
                return wire
            wire.close()
        return None

    def _keep(self, peer: Peer, wire: Wire) -> None:
        now = asyncio.get_running_loop().time()
        if wire.is_usable:
            self._idle.setdefault(peer, []).append(wire)
            self._since[wire] = peer, now
        while self._since:
            _, since = next(iter(self._since.values()))
            if len(self._since) <= _MAX_IDLE and now - since < _IDLE_SECONDS:
                break
            self._close_oldest()

    def _close_oldest(self) -> None:
        wire, (peer, _) = next(iter(self._since.items()))
        self._drop(peer, wire)
        wire.close()

    def _drop(self, peer: Peer, wire: Wire) -> None:
        del self._since[wire]
        wires = self._idle[peer]
        wires.remove(wire)
        if not wires:
            del self._idle[peer]
