"""A relay between two parts, which holds answers back, cuts them off, and sends requests again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable

__all__ = ["Relay"]

_PIECE = 262_144
_AGAIN_SECONDS = 4.0

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Relay:
    """Passes bytes both ways between whoever connects and what `connect` leads to.

    Args:
        again: Whether a piece is a whole request that may be sent twice; None for never.
        on_again: Called with a request that is sent twice.

    Attributes:
        delay: Seconds by which every answer comes later.
        cut: Answers are thrown away, and both connections broken: the request was done.
        repeat: Whole requests are done twice, one after the other, on two connections; the
            caller hears of the second.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Streams]],
        again: Callable[[bytes], bool] | None = None,
        on_again: Callable[[bytes], None] = lambda _: None,
    ) -> None:
        self.delay, self.cut, self.repeat = 0.0, False, False
        self._connect, self._again, self._on_again = connect, again, on_again
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def listen_tcp(self, port: int = 0) -> int:
        """Listen on loopback, and return the port."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port)
        return int(self._server.sockets[0].getsockname()[1])

    async def listen_unix(self, path: str) -> None:
        """Listen on a socket file."""
        self._server = await asyncio.start_unix_server(self._serve, path)

    def pass_all(self) -> None:
        """Break nothing any more."""
        self.delay, self.cut, self.repeat = 0.0, False, False

    async def close(self) -> None:
        """Stop listening and break every connection."""
        if self._server is not None:
            self._server.close()
        for task in list(self._open):
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        writers = [writer]
        try:
            behind, to_behind = await self._connect()
            writers.append(to_behind)
            ways = [
                asyncio.create_task(self._requests(reader, to_behind)),
                asyncio.create_task(self._answers(behind, writer)),
            ]
            try:
                # An end of either side is the end of both, as it is with one connection.
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            for each in writers:
                each.transport.abort()

    async def _requests(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if self.repeat and self._again is not None and self._again(piece):
                self._on_again(piece)
                with contextlib.suppress(OSError, TimeoutError):
                    await self._do_once_before(piece)
            to.write(piece)
            await to.drain()

    async def _answers(self, reader: asyncio.StreamReader, to: asyncio.StreamWriter) -> None:
        while piece := await reader.read(_PIECE):
            if self.delay:
                await asyncio.sleep(self.delay)
            if self.cut:
                return
            to.write(piece)
            await to.drain()

    async def _do_once_before(self, request: bytes) -> None:
        reader, writer = await self._connect()
        try:
            async with asyncio.timeout(_AGAIN_SECONDS):
                writer.write(request)
                await reader.read(_PIECE)
        finally:
            writer.transport.abort()
