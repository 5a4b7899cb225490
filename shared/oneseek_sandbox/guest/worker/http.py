"""HTTP/1.1 requests, their bodies and their answers."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.connection import PROGRESS_SECONDS, ConnectionLost
from oneseek_sandbox.guest.worker.fields import MAX_JSON_BYTES, Fields, encode_json, parse_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.guest.worker.connection import Connection

__all__ = [
    "MAX_DRAIN_BYTES",
    "MAX_HEADERS",
    "REASONS",
    "TOKEN_CHARACTERS",
    "Body",
    "Request",
    "http_chunk",
]

MAX_HEADERS = 64
MAX_DRAIN_BYTES = 1024 * 1024
TOKEN_CHARACTERS = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 409: "Conflict"}


class Body:
    """The body of one request, read in pieces."""

    def __init__(self, connection: Connection, length: int, *, chunked: bool) -> None:
        self._connection = connection
        self._left = length  # in the current chunk, when chunked
        self._chunked = chunked
        self._first = True
        self.meter: Callable[[int], None] | None = None
        self.finished = not chunked and length == 0

    async def read(self) -> bytes:
        """Return the next piece, empty at the end; raises ConnectionLost when it breaks off."""
        if self._chunked and self._left == 0 and not self.finished:
            await self._next_chunk()
        if self.finished:
            return b""
        buffer = self._connection.buffer
        if not buffer and not await self._connection.fill(PROGRESS_SECONDS):
            raise ConnectionLost
        piece = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(piece)
        self.finished = not self._chunked and self._left == 0
        if self.meter is not None:
            self.meter(len(piece))
        return piece

    @property
    def announced(self) -> int:
        """How many bytes are known to come."""
        return self._left

    async def read_all(self, limit: int) -> bytes:
        """Return the whole body; more than `limit` bytes are refused."""
        if not self._chunked and self._left > limit:
            raise WorkerError("request_too_large", f"The body may be {limit} bytes at most.")
        data = bytearray()
        while not self.finished:
            data += await self.read()
            if len(data) > limit:
                raise WorkerError("request_too_large", f"The body may be {limit} bytes at most.")
        return bytes(data)

    @property
    def is_nearly_read(self) -> bool:
        """Whether so little is left that reading it costs less than a new connection."""
        return self.finished or (not self._chunked and self._left <= MAX_DRAIN_BYTES)

    async def drain(self) -> None:
        """Throw away the rest."""
        while not self.finished:
            await self.read()

    async def _next_chunk(self) -> None:
        deadline = time.monotonic() + PROGRESS_SECONDS
        if not self._first:
            await self._expect_line(b"", deadline)
        self._first = False
        line = await self._connection.read_until(b"\r\n", 256, deadline)
        digits = line[:-2].split(b";", 1)[0].strip(b" \t")
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise WorkerError("invalid_request", "A chunk of the body has no valid length.")
        self._left = int(digits, 16)
        if self._left == 0:
            await self._skip_trailers(deadline)
            self.finished = True

    async def _expect_line(self, line: bytes, deadline: float) -> None:
        if await self._connection.read_until(b"\r\n", 256, deadline) != line + b"\r\n":
            raise WorkerError("invalid_request", "A chunk of the body is longer than it said.")

    async def _skip_trailers(self, deadline: float) -> None:
        for _ in range(MAX_HEADERS):
            if await self._connection.read_until(b"\r\n", 4096, deadline) == b"\r\n":
                return
        raise WorkerError("invalid_request", "Too many trailers after the body.")


class Request:
    """A parsed request head and its body."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        lines = head[:-4].split(b"\r\n")
        if len(lines) > MAX_HEADERS or any(b"\n" in line or b"\r" in line for line in lines):
            raise WorkerError("invalid_request", "The header is malformed or has too many lines.")
        parts = lines[0].split(b" ")
        if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise WorkerError("invalid_request", "This is not an HTTP/1.1 request.")
        self.connection = connection
        self.method = parts[0].decode("latin-1")
        target = parts[1].decode("latin-1").split("?", 1)
        self.path = target[0]
        self.query = target[1] if len(target) > 1 else ""
        self.headers = self._parse_headers(lines[1:])
        close = self.headers.get("connection", "").lower() == "close"
        self.keep_alive = parts[2] == b"HTTP/1.1" and not close
        self.subject = self.path
        self.answered = False
        self.body = self._frame_body()

    @staticmethod
    def _parse_headers(lines: list[bytes]) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.lower()
            # A space before the colon or a folded line is how requests are smuggled.
            if not colon or not name or not TOKEN_CHARACTERS.issuperset(name) or b"\0" in value:
                raise WorkerError("invalid_request", "A header line is malformed.")
            key = name.decode("ascii")
            if key in headers and (key.startswith("x-") or key in _SINGLE_HEADERS):
                raise WorkerError("invalid_request", f"The header {key} came twice.")
            headers[key] = value.strip(b" \t").decode("latin-1")
        return headers

    def _frame_body(self) -> Body:
        length = self.headers.get("content-length")
        coding = self.headers.get("transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise WorkerError("invalid_request", "Give Content-Length, or chunked encoding only.")
        digits = "0" if length is None else length
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise WorkerError("invalid_request", "Content-Length is not a number.")
        return Body(self.connection, int(digits), chunked=coding is not None)

    def query_value(self, name: str) -> str | None:
        """Return a query parameter; values here need no percent-decoding."""
        for pair in self.query.split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return None

    def meta(self) -> Fields:
        """Return the JSON object of the header `x-meta`."""
        return Fields(parse_json(self.headers.get("x-meta", "").encode("latin-1")))

    async def fields(self, limit: int = MAX_JSON_BYTES) -> Fields:
        """Read the body as a JSON object."""
        return Fields(parse_json(await self.body.read_all(limit)))

    def head(self, status: int, headers: str) -> bytes:
        """Return the head of an answer; from here on there is no other answer."""
        self.answered = True
        close = "" if self.keep_alive else "connection: close\r\n"
        reason = REASONS.get(status, "Error")
        return f"HTTP/1.1 {status} {reason}\r\n{headers}{close}\r\n".encode("latin-1")

    async def answer(self, value: object, status: int = 200) -> None:
        """Send a JSON answer."""
        body = encode_json(value)
        headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        await self.send(headers, body, status)

    async def send(self, headers: str, body: bytes, status: int = 200) -> None:
        """Send an answer whole."""
        await self.connection.send(self.head(status, headers) + body)


_SINGLE_HEADERS = frozenset(("content-length", "transfer-encoding", "host", "connection"))


def http_chunk(data: bytes | bytearray) -> bytes:
    """Return a chunk of a chunked answer."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))
