"""One connection to a worker: requests over HTTP/1.1, one after the other.

What is lost on the way is one of two errors: nothing was sent, or nobody knows. Leaving an answer
before its end closes the connection, which tells the worker that nobody waits any more.
"""

from __future__ import annotations

import asyncio
import select
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import httptools

from oneseek_sandbox.workers.patience import Patience
from oneseek_sandbox.workers.request import Answer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.workers.request import Request

__all__ = ["CutOffError", "NotReachedError", "Wire", "WireError"]

_MAX_HEAD_BYTES: Final = 64 * 1024
_MAX_QUEUED_BYTES: Final = 256 * 1024
_PIECE_BYTES: Final = 64 * 1024  # is sent at once, with the head before it
_FIRST_FINAL_STATUS: Final = 200


class WireError(Exception):
    """What went wrong between this side and a worker."""


class NotReachedError(WireError):
    """Nothing was sent: nobody answers there, or not whom this was for."""


class CutOffError(WireError):
    """The answer did not come, or not to its end; what was asked for may have been done."""


class Wire(asyncio.Protocol):
    """A connection and the answer that is under way on it, if any."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport = None  # type: ignore[assignment]  # set at once
        self._readable = select.poll()
        self._patience: Patience | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._lost: WireError | None = None
        self._forget()

    def _forget(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._answer: Answer | None = None
        self._is_sent = self._has_head = self._is_whole = self._stays = False
        self._head_bytes = 0
        self._pieces: deque[bytes] = deque()
        self._queued = 0

    @property
    def is_usable(self) -> bool:
        """Whether the next request can go over it: nothing is under way, and nothing has come."""
        at_rest = self._answer is None and self._lost is None and not self._transport.is_closing()
        return at_rest and not self._readable.poll(0)

    def close(self) -> None:
        """Close it at once, whatever is under way."""
        self._break("it was closed here")

    @asynccontextmanager
    async def asked(self, request: Request) -> AsyncIterator[Answer]:
        """Send a request; inside, the head of the answer is there.

        Raises:
            CutOffError: The connection ended, or was silent for too long.
        """
        if self._lost is not None:
            raise self._lost
        self._answer = answer = Answer(self, request.read_seconds)
        try:
            self._is_sent = await self._send(request)
            while not self._has_head:
                await self._wait(request.read_seconds)
            yield answer
        finally:
            is_over = self._is_sent and self._is_whole and not self._pieces
            if is_over and self._stays and self._lost is None:
                self._forget()
            else:
                self.close()

    async def _send(self, request: Request) -> bool:
        """Send a request, and say whether to its end: one that is refused before is not."""
        content = request.content
        if not isinstance(content, bytes):
            self._write(request.head())
            async for piece in content:
                if piece and not self._is_decided:
                    await self._write_all(b"%x\r\n%b\r\n" % (len(piece), piece), request)
                if self._is_decided:
                    return False
            if self._is_decided:
                return False
            self._write(b"0\r\n\r\n")
        elif len(content) <= _PIECE_BYTES:
            self._write(request.head() + content)
        else:
            self._write(request.head())
            return await self._write_all(content, request)
        return True

    async def _write_all(self, data: bytes, request: Request) -> bool:
        """Write a body or a piece of it, no faster than it is taken."""
        view = memoryview(data)
        for start in range(0, len(view), _PIECE_BYTES):
            self._write(view[start : start + _PIECE_BYTES])
            while self._writable is not None and not self._is_decided:
                await _within(self._writable, request.write_seconds, "took nothing of a body")
            if self._is_decided:
                return start + _PIECE_BYTES >= len(view)
        return True

    @property
    def _is_decided(self) -> bool:
        """Whether the rest of a body does not matter: it was refused before its end, or all is lost."""
        return self._has_head or self._lost is not None

    def _write(self, data: bytes | memoryview) -> None:
        if self._transport.is_closing():
            return  # uvloop refuses that; what has become of the connection is told by itself
        if self._patience is not None:
            self._patience.sent(len(data))
        self._transport.write(data)

    async def next_piece(self, seconds: float) -> bytes | None:
        """Return the next piece of a body, None at its end."""
        while not self._pieces:
            if self._is_whole:
                return None
            await self._wait(seconds)
        piece = self._pieces.popleft()
        before, self._queued = self._queued, self._queued - len(piece)
        if before > _MAX_QUEUED_BYTES >= self._queued:
            self._transport.resume_reading()
        return piece

    async def _wait(self, seconds: float) -> None:
        """Wait until something comes."""
        if self._lost is not None:
            raise self._lost
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await _within(self._waiter, seconds, "was silent")
        finally:
            self._waiter = None

    def _wake(self) -> None:
        _set(self._waiter)
        if self._is_decided:
            _set(self._writable)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the connection."""
        self._transport = cast("asyncio.Transport", transport)
        connection = transport.get_extra_info("socket")
        self._readable.register(connection.fileno(), select.POLLIN)
        self._patience = Patience.of(connection)

    def data_received(self, data: bytes) -> None:
        """Take what comes."""
        if self._patience is not None:
            self._patience.answered()
        if not self._has_head:
            self._head_bytes += len(data)
        if self._answer is None or self._is_whole:
            self._break("it says what nobody asked for")
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._break(f"it does not answer as HTTP has it: {error}")
        if not self._has_head and self._head_bytes > _MAX_HEAD_BYTES:
            self._break("the head of its answer is too long")
        self._wake()

    def eof_received(self) -> None:
        """Take note that nothing more will come."""
        self._lose("it closed the connection")

    def connection_lost(self, error: Exception | None) -> None:
        """Take note that it has ended."""
        self._lose(str(error) if error else "it closed the connection")

    def pause_writing(self) -> None:
        """Wait with the rest of a body."""
        self._writable = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        """Go on with a body."""
        _set(self._writable)
        self._writable = None

    def _break(self, why: str) -> None:
        self._transport.abort()
        self._lose(why)

    def _lose(self, why: str) -> None:
        self._lost = self._lost or CutOffError(why)
        self._wake()

    # What the parser tells; it goes on to the end of what came, also when that is of no use any more.

    def on_message_begin(self) -> None:
        """Take note that an answer begins, the only one."""
        if self._is_whole:
            self._break("it says what nobody asked for")

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        if self._answer is not None and not self._is_decided:
            self._answer.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Take the status."""
        status = self._parser.get_status_code()
        if status < _FIRST_FINAL_STATUS:
            self._break(f"its answer has the status {status}")
        elif self._answer is not None and not self._is_decided:
            self._answer.status = status
            self._has_head = True

    def on_body(self, piece: bytes) -> None:
        """Take a piece of the body."""
        if self._lost is not None:
            return
        self._pieces.append(piece)
        before, self._queued = self._queued, self._queued + len(piece)
        if before <= _MAX_QUEUED_BYTES < self._queued:
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Take note that the answer is whole."""
        self._is_whole = self._has_head
        self._stays = self._parser.should_keep_alive()  # which it knows only now


async def _within(waiter: asyncio.Future[None], seconds: float, how: str) -> None:
    """Wait for what the event loop will tell; when it does not in time, the worker is given up."""

    def give_up() -> None:
        if not waiter.done():
            waiter.set_exception(CutOffError(f"it {how} for {seconds:.0f} s"))

    timer = asyncio.get_running_loop().call_later(seconds, give_up)
    try:
        await waiter
    finally:
        timer.cancel()


def _set(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
