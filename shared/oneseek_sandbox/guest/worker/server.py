"""Accepts connections and reads requests."""

from __future__ import annotations

import select
import socket
import time
from operator import itemgetter
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError, from_os_error, log_fault
from oneseek_sandbox.guest.worker.connection import MAX_HEADER_BYTES, Connection, ConnectionLost
from oneseek_sandbox.guest.worker.fields import encode_json
from oneseek_sandbox.guest.worker.http import REASONS, Request
from oneseek_sandbox.guest.worker.scheduler import Wait, sleep, turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = ["HEADER_SECONDS", "KEEP_ALIVE_SECONDS", "LINGER_SECONDS", "MAX_CONNECTIONS", "Server"]

MAX_CONNECTIONS = 256
HEADER_SECONDS = 10.0
KEEP_ALIVE_SECONDS = 600.0
LINGER_SECONDS = 2.0


class Server:
    """Accepts connections and has each request answered.

    Args:
        dispatch: Answers a request, or raises `WorkerError` or OSError.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        listener: socket.socket,
        dispatch: Callable[[Request], Awaitable[None]],
    ) -> None:
        self.requests = 0
        self._scheduler = scheduler
        self._listener = listener
        self._dispatch = dispatch
        self._connections: set[Connection] = set()

    async def accept(self) -> None:
        """Accept connections, for ever."""
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                await Wait(self._listener.fileno(), select.EPOLLIN)
            except OSError:
                await sleep(0.05)
            else:
                self._take_connection(sock)
                await turn()

    def _take_connection(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        self._make_room()
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = Connection(sock)
        self._connections.add(connection)
        self._scheduler.spawn(self._serve(connection))

    def _make_room(self) -> None:
        """At the limit, end the connection that has been idle longest, strangers first."""
        if len(self._connections) < MAX_CONNECTIONS:
            return
        idle = [
            (connection.trusted, connection.idle_since, connection)
            for connection in self._connections
            if connection.idle_since is not None
        ]
        if idle:
            oldest = min(idle, key=itemgetter(0, 1))[2]
            self._connections.discard(oldest)
            oldest.shut()

    async def _serve(self, connection: Connection) -> None:
        try:
            while await self._serve_one(connection):
                await turn()
        except ConnectionLost:
            pass
        finally:
            self._connections.discard(connection)
            connection.shut()
            connection.socket.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Answer one request; False when the connection has to end."""
        connection.idle_since = time.monotonic()
        patience = KEEP_ALIVE_SECONDS if connection.trusted else HEADER_SECONDS
        if not connection.buffer and not await connection.fill(patience):
            return False
        deadline = time.monotonic() + HEADER_SECONDS
        try:
            head = await connection.read_until(b"\r\n\r\n", MAX_HEADER_BYTES, deadline)
            request = Request(connection, head)
        except WorkerError as error:
            await self._refuse(connection, error)
            return False
        connection.idle_since = None
        self.requests += 1
        try:
            await self._answer(request)
        finally:
            self.requests -= 1
        if request.keep_alive and request.body.is_nearly_read:
            await request.body.drain()
            return True
        await self._linger(connection)
        return False

    async def _answer(self, request: Request) -> None:
        try:
            await self._dispatch(request)
        except ConnectionLost:
            raise
        except WorkerError as caught:
            error = caught
        except OSError as caught:
            error = from_os_error(caught, request.subject)
        except Exception as caught:  # noqa: BLE001 - one request's fault must not end the others
            log_fault(caught)
            error = WorkerError("internal", "The worker failed at this request; see its log.")
        else:
            return
        if request.answered:
            raise ConnectionLost
        request.keep_alive = request.keep_alive and request.body.is_nearly_read
        told = {"code": error.code, "message": error.message, "details": error.details}
        if error.details is None:
            del told["details"]
        await request.answer({"error": told}, error.status)

    @staticmethod
    async def _refuse(connection: Connection, error: WorkerError) -> None:
        body = encode_json({"error": {"code": error.code, "message": error.message}})
        head = (
            f"HTTP/1.1 {error.status} {REASONS.get(error.status, 'Error')}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        await connection.send(head.encode("ascii") + body)
        await Server._linger(connection)

    @staticmethod
    async def _linger(connection: Connection) -> None:
        """Read on for a moment, else the peer's kernel throws our answer away with a reset."""
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        deadline = time.monotonic() + LINGER_SECONDS
        while (left := deadline - time.monotonic()) > 0 and await connection.fill(left):
            connection.buffer.clear()
