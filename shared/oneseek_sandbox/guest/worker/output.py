"""A command's output on its way to the caller."""

from __future__ import annotations

import binascii
from collections import deque
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import (
    CHUNK,
    ENCODED_AT_ONCE,
    MAX_LIVE_BYTES,
    MAX_PIPE_BYTES,
    READ_BYTES,
)
from oneseek_sandbox.guest.worker.fields import _encode
from oneseek_sandbox.guest.worker.scheduler import turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oneseek_sandbox.guest.worker.capture import Capture
    from oneseek_sandbox.guest.worker.connection import Connection

__all__ = ["Answer", "Listener", "http_chunk"]


class Listener:
    """The caller that started a command, and takes its output while it comes.

    Who reads the command's pipes waits while this is full: a slow caller slows the command.

    Args:
        limit: How many bytes of stdout, and of stderr, are for it.
    """

    def __init__(self, limit: int) -> None:
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._left = {"stdout": limit, "stderr": limit}

    @property
    def is_full(self) -> bool:
        """Whether what is read next might be too much."""
        return self._queued + 2 * READ_BYTES > MAX_LIVE_BYTES

    def put(self, name: str, data: bytes) -> None:
        """Queue output, as long as it is for this caller."""
        data = data[: self._left[name]]
        if self._queued + len(data) > MAX_LIVE_BYTES + 3 * MAX_PIPE_BYTES:
            # Nobody waits for a caller once the command has ended; background processes may
            # print on. The answer has how much there was.
            self._left[name] = 0
        elif data:
            self._left[name] -= len(data)
            self._chunks.append(http_chunk(_encode({name: _base64(data)}) + b"\n"))
            self._queued += len(self._chunks[-1])

    def take(self) -> bytes:
        """Return the oldest chunk, empty when there is none."""
        if not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        self._queued -= len(chunk)
        return chunk


def http_chunk(data: bytes | bytearray) -> bytes:
    """Return a chunk of a chunked answer."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))


class Answer:
    """How a command ended, with its output as bytes."""

    def __init__(self, fields: dict[str, Any], stdout: Capture, stderr: Capture) -> None:
        self._fields = fields
        self._streams = {"stdout": stdout, "stderr": stderr}
        self.size = 512 + stdout.kept + stderr.kept

    def pieces(self) -> Iterator[bytes]:
        """Give the last line of an execute answer, piece by piece as output may be long."""
        yield b'{"exit":' + _encode(self._fields)[:-1]
        for name, capture in self._streams.items():
            yield b',"%b":{"bytes":%d' % (name.encode("ascii"), capture.total)
            head, tail = capture.parts()
            for part, data in ((b"head", head), (b"tail", tail)):
                yield b',"%b":"' % part
                for start in range(0, len(data), ENCODED_AT_ONCE):
                    yield _base64(data[start : start + ENCODED_AT_ONCE]).encode("ascii")
                yield b'"'
            yield b"}"
        yield b"}}\n"

    async def send(self, connection: Connection, head: bytes) -> None:
        """Send `head` and the last line, then the end of the chunked body."""
        buffer = bytearray()
        for piece in self.pieces():
            buffer += piece
            if len(buffer) >= CHUNK:
                await connection.send(head + http_chunk(buffer))
                head = b""
                buffer.clear()
                await turn()
        await connection.send(head + http_chunk(buffer) + b"0\r\n\r\n")


def _base64(data: bytes | memoryview) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")
