"""Delivers bytes to a worker and reads what comes back, as strictly as a client may."""

from __future__ import annotations

import contextlib
import json
import re
import select
import socket
import struct
import time
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.guest.worker.base import STATUS

if TYPE_CHECKING:
    from tests.fuzz.requests import Delivery

__all__ = ["Reply", "deliver", "replies"]

QUIET_SECONDS = 0.05
HANG_SECONDS = 60.0
STATUS_LINE = re.compile(rb"HTTP/1\.1 (\d{3}) [A-Za-z ]+")


class Reply:
    """One answer: its status, and its body where that came whole."""

    def __init__(self, status: int, body: bytes | None) -> None:
        self.status = status
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body or b"")

    def __repr__(self) -> str:
        return f"{self.status} {(self.body or b'')[:200]!r}"


def deliver(connection: socket.socket, delivery: Delivery) -> bytes:
    """Send it all and return every byte that came until the worker closed the connection."""
    connection.settimeout(HANG_SECONDS)
    received = bytearray()
    for piece in delivery.pieces:
        if not _send(connection, piece, received):
            break
        time.sleep(delivery.pause)
    if delivery.ending in ("close", "reset"):
        if delivery.ending == "reset":
            linger = struct.pack("ii", 1, 0)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        connection.close()
        return bytes(received)
    if delivery.ending == "wait":
        while select.select([connection], [], [], QUIET_SECONDS)[0]:
            data = _receive(connection)
            received += data
            if not data:
                return bytes(received)
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_WR)
    while data := _receive(connection):
        received += data
    return bytes(received)


def _send(connection: socket.socket, data: bytes, received: bytearray) -> bool:
    """Send, taking what comes meanwhile; False when the worker takes no more."""
    view = memoryview(data)
    while view:
        readable, writable, _ = select.select([connection], [connection], [], HANG_SECONDS)
        assert readable or writable, "the worker neither takes nor answers"
        if readable:
            came = _receive(connection)
            received += came
            if not came:
                return False
        if writable:
            try:
                view = view[connection.send(view[:65536]) :]
            except OSError:
                return False
    return True


def _receive(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except TimeoutError:
        raise AssertionError("the connection hangs") from None
    except OSError:
        return b""


def replies(data: bytes) -> list[Reply]:
    """Cut what came into answers; the last may have broken off, anything else must be whole."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        if not end:
            break
        first, *lines = head.split(b"\r\n")
        status = STATUS_LINE.fullmatch(first)
        assert status, f"no status line: {first[:100]!r}"
        headers = dict(line.lower().split(b": ", 1) for line in lines)
        body, data = _body(headers, data)
        found.append(Reply(int(status[1]), body))
        _check(found[-1])
    return found


def _body(headers: dict[bytes, bytes], data: bytes) -> tuple[bytes | None, bytes]:
    if headers.get(b"transfer-encoding") != b"chunked":
        length = int(headers[b"content-length"])
        return (data[:length], data[length:]) if len(data) >= length else (None, b"")
    body = b""
    while True:
        size, end, data = data.partition(b"\r\n")
        if not end or len(data) < int(size, 16) + 2:
            return None, b""
        chunk, data = data[: int(size, 16)], data[int(size, 16) :]
        assert data[:2] == b"\r\n"
        data = data[2:]
        if not chunk:
            return body, data
        body += chunk


def _check(reply: Reply) -> None:
    if reply.status != 200 and reply.body is not None:
        error = reply.json["error"]
        assert STATUS[error["code"]] == reply.status, reply
        assert isinstance(error["message"], str)
        assert len(reply.body) < 8192, f"{len(reply.body)} bytes of error"
