"""Brings a command's output and end to one client."""

from __future__ import annotations

import select
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.connection import (
    MAX_HEADER_BYTES,
    PROGRESS_SECONDS,
    ConnectionLost,
)

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.command import Command
    from oneseek_sandbox.guest.worker.http import Request
    from oneseek_sandbox.guest.worker.output import Answer, Listener

__all__ = ["STREAM_HEADERS", "Relay"]

STREAM_HEADERS = "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n"


class Relay:
    """Brings a command's output and end to one client, and ends the command if its owner leaves.

    A client that takes nothing for PROGRESS_SECONDS, while there is something to take, has left.
    """

    def __init__(
        self,
        request: Request,
        command: Command,
        listener: Listener | None = None,
        *,
        owner: bool = False,
    ) -> None:
        self._request = request
        self._connection = request.connection
        self._command = command
        self._owner = owner
        self._listener = listener
        self._head_taken = False
        self._pending = memoryview(b"")

    async def run(self) -> None:
        """Relay until the answer is sent."""
        command = self._command
        try:
            await self._follow()
        except ConnectionLost:
            if self._listener is not None:
                command.leave()
            if self._owner and not command.finished:
                await command.cancel()
            raise
        if command.error is not None:
            raise command.error
        if command.answer is not None:
            await self._finish(command.answer)

    async def _follow(self) -> None:
        """Send what comes until the command has ended, and notice when the client goes."""
        watched = select.EPOLLIN
        deadline: float | None = None
        while not self._command.finished:
            progress = self._send_some()
            now = time.monotonic()
            if not self._pending:
                deadline = None
            elif progress or deadline is None:
                deadline = now + PROGRESS_SECONDS
            elif now >= deadline:
                raise ConnectionLost
            mask = watched | (select.EPOLLOUT if self._pending else 0)
            events = await self._command.changed.wait(deadline, self._connection.fd, mask)
            if events & (select.EPOLLHUP | select.EPOLLERR):
                raise ConnectionLost
            if events & select.EPOLLIN and not self._read_ahead():
                watched = 0

    async def _finish(self, answer: Answer) -> None:
        while piece := self._pending or self._next():
            self._pending = memoryview(b"")
            await self._connection.send(piece)
        head = b"" if self._head_taken else self._request.head(200, STREAM_HEADERS)
        await answer.send(self._connection, head)

    def _send_some(self) -> bool:
        """Send what the client takes just now; says whether it took any."""
        progress = False
        while piece := self._pending or memoryview(self._next()):
            sent = self._connection.send_some(piece)
            self._pending = piece[sent:]
            progress = progress or sent > 0
            if self._pending:
                break
        return progress

    def _next(self) -> bytes:
        if self._listener is None or not self._command.started:
            return b""
        if not self._head_taken:
            self._head_taken = True
            return self._request.head(200, STREAM_HEADERS)
        was_full = self._listener.is_full
        chunk = self._listener.take()
        if was_full and not self._listener.is_full:
            self._command.changed.notify()
        return chunk

    def _read_ahead(self) -> bool:
        """Take what the client sends early; False when no more of that is wanted."""
        try:
            data = self._connection.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            raise ConnectionLost from None
        if not data:
            raise ConnectionLost
        self._connection.buffer += data
        return len(self._connection.buffer) < MAX_HEADER_BYTES
