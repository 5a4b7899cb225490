"""A command's output: head and tail for the answer, pieces for a caller that listens."""

from __future__ import annotations

import binascii
from collections import deque
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import CHUNK
from oneseek_sandbox.guest.worker.fields import encode_json
from oneseek_sandbox.guest.worker.http import http_chunk
from oneseek_sandbox.guest.worker.scheduler import turn

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oneseek_sandbox.guest.worker.connection import Connection

__all__ = [
    "ENCODED_AT_ONCE",
    "MAX_LIVE_BYTES",
    "MAX_PIPE_BYTES",
    "READ_BYTES",
    "Answer",
    "Capture",
    "Listener",
    "base64_text",
]

READ_BYTES = 64 * 1024
MAX_LIVE_BYTES = 256 * 1024  # queued for a caller that takes its stream slowly
MAX_PIPE_BYTES = 1024 * 1024  # what a command may leave in its pipes when it ends
ENCODED_AT_ONCE = 48 * 1024  # a multiple of three, so that base64 goes on without padding


class Capture:
    """Keeps the head and the tail of a stream and counts the rest.

    Args:
        least_tail: How many of the last bytes are kept even when half the limit is less.
    """

    def __init__(self, limit: int, least_tail: int = 0) -> None:
        self._head_limit = (limit + 1) // 2
        self._ring_limit = max(limit - self._head_limit, least_tail)
        self._head = bytearray()
        self._ring = bytearray()
        self._start = 0
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        room = self._ring_limit - len(self._ring)
        if room > 0:
            self._ring += data[:room]
            data = data[room:]
        if data and self._ring_limit:
            self._overwrite(data)

    def _overwrite(self, data: bytes) -> None:
        limit = self._ring_limit
        skipped = max(0, len(data) - limit)
        start = (self._start + skipped) % limit
        data = data[skipped:]
        first = data[: limit - start]
        self._ring[start : start + len(first)] = first
        rest = data[len(first) :]
        self._ring[: len(rest)] = rest
        self._start = (start + len(data)) % limit

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return len(self._head) + len(self._ring)

    def parts(self) -> tuple[memoryview, memoryview]:
        """Return head and tail."""
        if self._start:
            self._ring = self._ring[self._start :] + self._ring[: self._start]
            self._start = 0
        return memoryview(self._head), memoryview(self._ring)


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
            self._chunks.append(http_chunk(encode_json({name: base64_text(data)}) + b"\n"))
            self._queued += len(self._chunks[-1])

    def take(self) -> bytes:
        """Return the oldest chunk, empty when there is none."""
        if not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        self._queued -= len(chunk)
        return chunk


class Answer:
    """How a command ended, with its output as bytes."""

    def __init__(self, fields: dict[str, Any], stdout: Capture, stderr: Capture) -> None:
        self._fields = fields
        self._streams = {"stdout": stdout, "stderr": stderr}
        self.size = 512 + stdout.kept + stderr.kept

    def pieces(self) -> Iterator[bytes]:
        """Give the last line of an execute answer, piece by piece as output may be long."""
        yield b'{"exit":' + encode_json(self._fields)[:-1]
        for name, capture in self._streams.items():
            yield b',"%b":{"bytes":%d' % (name.encode("ascii"), capture.total)
            head, tail = capture.parts()
            for part, data in ((b"head", head), (b"tail", tail)):
                yield b',"%b":"' % part
                for start in range(0, len(data), ENCODED_AT_ONCE):
                    yield base64_text(data[start : start + ENCODED_AT_ONCE]).encode("ascii")
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


def base64_text(data: bytes | memoryview) -> str:
    """Return bytes in base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")
