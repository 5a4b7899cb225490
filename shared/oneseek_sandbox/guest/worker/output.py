"""A command's output: head and tail for the answer, pieces for a caller that listens."""

from __future__ import annotations

import binascii
import contextlib
from collections import deque
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.fields import encode_json
from oneseek_sandbox.guest.worker.http import http_chunk
from oneseek_sandbox.guest.worker.scheduler import turn
from oneseek_sandbox.guest.worker.spool import LOW_MEMORY_BYTES, MAX_SHARED_BYTES, Store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oneseek_sandbox.guest.worker.connection import Connection
    from oneseek_sandbox.guest.worker.spool import Spools

__all__ = [
    "ENCODED_AT_ONCE",
    "MAX_LIVE_BYTES",
    "MAX_PIPE_BYTES",
    "PACKED_BYTES",
    "READ_BYTES",
    "Answer",
    "Capture",
    "Listener",
    "base64_text",
]

READ_BYTES = 64 * 1024
MAX_LIVE_BYTES = 256 * 1024  # queued for a caller that takes its stream slowly
MAX_PIPE_BYTES = 1024 * 1024  # what a command may leave in its pipes when it ends
PACKED_BYTES = 4 * 1024  # an output that is kept for a repeat stays in memory up to here
ENCODED_AT_ONCE = 48 * 1024  # a multiple of three, so that base64 goes on without padding


class Capture:
    """Keeps the head and the tail of a stream and counts the rest.

    Where the disk has no room for them, it keeps what is there by then, and a short tail.

    Args:
        least_tail: How many of the last bytes are kept even when half the limit is less.
    """

    def __init__(self, limit: int, spools: Spools, least_tail: int = 0) -> None:
        self._spools = spools
        self._head = self._tail = Store(spools)
        self._head_limit = (limit + 1) // 2
        self._ring_limit = max(limit - self._head_limit, least_tail)
        self._ring_begin = self._head_limit  # in the store that both share
        self._head_size = 0
        self._ring_total = 0  # bytes that ever went into the ring
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        before = self._head_size
        try:
            self._keep(data)
        except OSError:
            self._make_do()
            self._keep(data[self._head_size - before :])

    def _make_do(self) -> None:
        """Go on without the disk: what is in the ring is lost, and what follows stays in memory."""
        self._tail = Store(self._spools)
        self._head_limit = self._head_size
        self._ring_limit = min(self._ring_limit, LOW_MEMORY_BYTES)
        self._ring_begin = self._ring_total = 0

    def _keep(self, data: bytes) -> None:
        if room := self._head_limit - self._head_size:
            first = data[:room]
            self._head.write(self._head_size, first)
            self._head_size += len(first)
            data = data[room:]
        limit = self._ring_limit
        if not data or not limit:
            return
        skipped = max(0, len(data) - limit)
        start = (self._ring_total + skipped) % limit
        first, rest = data[skipped:][: limit - start], data[skipped:][limit - start :]
        self._tail.write(self._ring_begin + start, first)
        if rest:
            self._tail.write(self._ring_begin, rest)
        self._ring_total += len(data)

    @property
    def head_size(self) -> int:
        """How many of the first bytes are kept."""
        return self._head_size

    @property
    def tail_size(self) -> int:
        """How many of the last bytes are kept beside those."""
        return min(self._ring_total, self._ring_limit)

    def head(self, position: int, size: int) -> bytes:
        """Return bytes of the head."""
        return self._head.read(position, min(size, self._head_size - position))

    def tail(self, position: int, size: int) -> bytes:
        """Return bytes of the tail."""
        size = min(size, self.tail_size - position)
        if self._ring_total > self._ring_limit:
            position = (position + self._ring_total) % self._ring_limit
        first = min(size, self._ring_limit - position)
        data = self._tail.read(self._ring_begin + position, first)
        return data + self._tail.read(self._ring_begin, size - first) if first < size else data

    def pack(self) -> None:
        """Keep it out of memory where that is short: nobody may ever ask for it."""
        short = self._spools.in_memory > MAX_SHARED_BYTES // 2
        if short and self.head_size + self.tail_size > PACKED_BYTES:
            with contextlib.suppress(OSError):
                self._head.spill()


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
        self.size = 512 + sum(stream.head_size + stream.tail_size for stream in (stdout, stderr))

    def pack(self) -> None:
        """Keep its output out of memory where that is short."""
        for capture in self._streams.values():
            capture.pack()

    def pieces(self) -> Iterator[bytes]:
        """Give the last line of an execute answer, piece by piece as output may be long."""
        yield b'{"exit":' + encode_json(self._fields)[:-1]
        for name, capture in self._streams.items():
            yield b',"%b":{"bytes":%d' % (name.encode("ascii"), capture.total)
            head, tail = (capture.head_size, capture.head), (capture.tail_size, capture.tail)
            for part, (size, read) in ((b"head", head), (b"tail", tail)):
                yield b',"%b":"' % part
                for start in range(0, size, ENCODED_AT_ONCE):
                    yield base64_text(read(start, ENCODED_AT_ONCE)).encode("ascii")
                yield b'"'
            yield b"}"
        yield b"}}\n"

    async def send(self, connection: Connection, head: bytes) -> None:
        """Send `head` and the last line, then the end of the chunked body."""
        buffer = bytearray()
        for piece in self.pieces():
            buffer += piece
            if len(buffer) >= READ_BYTES:  # small, as many may be sent to at a time
                await connection.send(head + http_chunk(buffer))
                head = b""
                buffer.clear()
                await turn()
        await connection.send(head + http_chunk(buffer) + b"0\r\n\r\n")


def base64_text(data: bytes | memoryview) -> str:
    """Return bytes in base64."""
    return binascii.b2a_base64(data, newline=False).decode("ascii")
