"""One client's socket, with bounded waits."""

from __future__ import annotations

import contextlib
import select
import socket
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import CHUNK, WorkerError
from oneseek_sandbox.guest.worker.scheduler import Wait, turn

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.scheduler import Condition

__all__ = ["MAX_HEADER_BYTES", "PROGRESS_SECONDS", "Connection", "ConnectionLost"]

MAX_HEADER_BYTES = 64 * 1024
PROGRESS_SECONDS = 30.0


class ConnectionLost(Exception):  # noqa: N818 - an event, not a fault
    """The peer went away, or was too slow."""


class Connection:
    """One client: a socket, what was read from it and not used yet, and bounded waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.buffer = bytearray()
        self.trusted = False
        self.idle_since: float | None = time.monotonic()

    async def fill(self, seconds: float) -> bool:
        """Read some more; False at the end of the stream."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                if not await Wait(self.fd, select.EPOLLIN, deadline):
                    raise ConnectionLost from None
            except OSError:
                raise ConnectionLost from None
            else:
                self.buffer += data
                return bool(data)

    async def send(self, data: bytes | memoryview, seconds: float = PROGRESS_SECONDS) -> None:
        """Send all of it; a peer that takes nothing for `seconds` is lost."""
        view = memoryview(data)
        while view:
            sent = self.send_some(view)
            view = view[sent:]
            if view and not sent:
                deadline = time.monotonic() + seconds
                if not await Wait(self.fd, select.EPOLLOUT, deadline):
                    raise ConnectionLost

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what the peer takes just now; returns how many bytes."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise ConnectionLost from None

    def is_dropped(self) -> bool:
        """Say whether the peer has closed its side (or only its sending half, which counts)."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def check_present(self) -> None:
        """Stop here when the caller has gone: what is not committed by now must never be."""
        if self.is_dropped():
            raise ConnectionLost

    async def turn(self) -> None:
        """Let every other task run once; a caller that leaves meanwhile is lost."""
        await turn()
        self.check_present()

    async def wait_for(self, condition: Condition) -> None:
        """Wait for a notice of `condition`; a caller that leaves meanwhile is lost."""
        if await condition.wait(None, self.fd, select.EPOLLRDHUP):
            raise ConnectionLost

    def shut(self) -> None:
        """End both directions now, even while a forked child still holds a copy."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    async def read_until(self, mark: bytes, limit: int, deadline: float) -> bytes:
        """Take bytes up to and with `mark`; longer than `limit` is refused."""
        start = 0
        while True:
            found = self.buffer.find(mark, start)
            if found >= 0 and found + len(mark) <= limit:
                end = found + len(mark)
                taken = bytes(self.buffer[:end])
                del self.buffer[:end]
                return taken
            if found >= 0 or len(self.buffer) > limit:
                raise WorkerError("request_too_large", f"More than {limit} bytes of header.")
            start = max(0, len(self.buffer) - len(mark))
            if not await self.fill(deadline - time.monotonic()):
                raise ConnectionLost
