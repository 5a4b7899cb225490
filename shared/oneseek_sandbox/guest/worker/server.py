"""Connections, and the operation that answers each request."""

from __future__ import annotations

import os
import select
import socket
import time
from operator import itemgetter
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import (
    EVERYTHING,
    HEADER_SECONDS,
    IDLE_CHECK_SECONDS,
    IDLE_MARGIN_SECONDS,
    KEEP_ALIVE_SECONDS,
    LINGER_SECONDS,
    MAX_CLAIM_BYTES,
    MAX_CONNECTIONS,
    MAX_HEADER_BYTES,
    MAX_STARTS,
    SPARE_SECONDS,
    UNCLAIMED_SECONDS,
    NotStartedError,
    WorkerError,
    from_os_error,
    log_fault,
)
from oneseek_sandbox.guest.worker.claim import Claim
from oneseek_sandbox.guest.worker.command_spec import CommandSpec
from oneseek_sandbox.guest.worker.commands import Commands
from oneseek_sandbox.guest.worker.connection import Connection
from oneseek_sandbox.guest.worker.disk import Disk
from oneseek_sandbox.guest.worker.fields import REASONS, ConnectionLost, _encode
from oneseek_sandbox.guest.worker.files import Files
from oneseek_sandbox.guest.worker.http import Request
from oneseek_sandbox.guest.worker.once import OnceTable
from oneseek_sandbox.guest.worker.paths import Workspace
from oneseek_sandbox.guest.worker.relay import STREAM_HEADERS, Relay
from oneseek_sandbox.guest.worker.scheduler import Scheduler, Wait, sleep, turn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from oneseek_sandbox.guest.worker.options import Options

__all__ = ["Worker"]


class Worker:
    """Accepts connections and leads each request to what answers it."""

    def __init__(self, options: Options, listener: socket.socket) -> None:
        self.scheduler = Scheduler()
        self._listener = listener
        self._unclaimed_exit = options.unclaimed_exit
        self._claim = Claim(options.marker, options.uid)
        self._workspace = Workspace(options.workspace)
        self._commands = Commands(self.scheduler, self._workspace, options)
        limit, floor = options.disk_limit, options.disk_floor
        self._disk = Disk(self.scheduler, self._workspace.root, limit, floor)
        self._files = Files(self.scheduler, self._workspace, self._disk.take, self._commands.sync)
        self._tmp = Disk(self.scheduler, b"/tmp", options.tmp_limit)
        self._once = OnceTable()
        self._connections: set[Connection] = set()
        self._requests = 0
        self._last_contact = time.monotonic()
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[None]]] = {
            ("GET", "/proof"): self._proof,
            ("POST", "/claim"): self._take_claim,
            ("GET", "/health"): self._health,
            ("POST", "/execute"): self._execute,
            ("POST", "/cancel"): self._cancel,
            ("POST", "/ls"): self._files.ls,
            ("POST", "/read"): self._files.read,
            ("POST", "/write"): self._write,
            ("POST", "/replace"): self._replace,
        }

    def run(self, wakeup: int) -> NoReturn:
        """Serve until idle for too long."""
        self.scheduler.spawn(self._accept())
        self.scheduler.spawn(self._commands.reap(wakeup))
        self.scheduler.spawn(self._files.sweep())
        self.scheduler.spawn(self._end_when_idle())
        self.scheduler.spawn(self._disk.watch(self._commands))
        self.scheduler.spawn(self._tmp.watch(self._commands))
        self.scheduler.run()

    async def _accept(self) -> None:
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
        self.scheduler.spawn(self._serve(connection))

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
        self._requests += 1
        try:
            await self._answer(request)
        finally:
            self._requests -= 1
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
        details = {"code": error.code, "message": error.message}
        await request.answer({"error": details}, error.status)

    async def _dispatch(self, request: Request) -> None:
        if request.path not in ("/proof", "/claim"):
            self._claim.check(request.headers)
            request.connection.trusted = True
            self._last_contact = time.monotonic()
        action = self._routes.get((request.method, request.path))
        if action is None:
            known = any(path == request.path for _, path in self._routes)
            code = "method_not_allowed" if known else "unknown_verb"
            raise WorkerError(code, f"There is no {request.method[:20]} {request.path[:100]}.")
        await action(request)
        if request.connection.trusted:
            self._last_contact = time.monotonic()

    @staticmethod
    async def _refuse(connection: Connection, error: WorkerError) -> None:
        body = _encode({"error": {"code": error.code, "message": error.message}})
        head = (
            f"HTTP/1.1 {error.status} {REASONS.get(error.status, 'Error')}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        await connection.send(head.encode("ascii") + body)
        await Worker._linger(connection)

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

    async def _proof(self, request: Request) -> None:
        await request.answer(self._claim.prove(request.query_value("nonce") or ""))

    async def _take_claim(self, request: Request) -> None:
        fields = await request.fields(MAX_CLAIM_BYTES)
        token = fields.text("token")
        generation = fields.integer("generation", 0, 1 << 53)
        idle_seconds = fields.integer("idle_seconds", 1, 86_400 * 366)
        fields.close()
        answer = self._claim.take(token, generation, idle_seconds)
        answer["empty"] = self._workspace.is_empty()
        self.scheduler.spawn(self._commands.prepare())
        self._last_contact = time.monotonic()
        await request.answer(answer)

    async def _health(self, request: Request) -> None:
        idle = request.query_value("idle_seconds")
        if idle is not None:
            if not (idle.isascii() and idle.isdigit() and 0 < len(idle) <= 9):
                raise WorkerError("invalid_request", "idle_seconds must be a number.")
            self._claim.idle_seconds = int(idle)
        commands, processes = len(self._commands.running), self._commands.count_processes()
        await request.answer({"commands": commands, "processes": processes})

    async def _cancel(self, request: Request) -> None:
        fields = await request.fields()
        request_id = fields.text("request_id", limit=128)
        fields.close()
        if request_id == EVERYTHING:
            await request.answer({"cancelled": await self._commands.end_all()})
            return
        command = self._once.running(request_id)
        if command is not None and not command.finished:
            await command.cancel()
            await request.answer({"cancelled": True})
        else:
            await request.answer({"cancelled": False})

    async def _write(self, request: Request) -> None:
        await self._disk.check(request.body.announced)
        request.body.meter = self._disk.take
        await self._files.write(request)

    async def _replace(self, request: Request) -> None:
        await self._disk.check(0)
        await self._files.replace(request)

    async def _execute(self, request: Request) -> None:
        spec = CommandSpec(await request.fields(), request.headers.get("x-live-bytes"))
        self._disk.busy.notify()
        self._tmp.busy.notify()
        for _ in range(MAX_STARTS):
            began = time.monotonic()
            if self._commands.is_crowded():
                await self._commands.make_room(began)
            try:
                return await self._run(request, spec)
            except NotStartedError as error:
                if not error.lacks_room:
                    raise
                if not await self._commands.make_room(began):
                    raise self._commands.too_many(error) from None
                await turn()  # the table of request ids forgets what did not start
        return await self._run(request, spec)

    async def _run(self, request: Request, spec: CommandSpec) -> None:
        if spec.request_id is None:
            command = self._commands.start(spec)
            await Relay(request, command, command.listener, owner=True).run()
            return
        entry = self._once.find(spec)
        if entry is None:
            command = self._commands.start(spec)
            entry = self._once.record(spec, command)
            self.scheduler.spawn(self._once.settle(spec, entry))
            await Relay(request, command, command.listener).run()
        elif entry.command is not None:
            await Relay(request, entry.command).run()
        elif entry.answer is not None:
            await entry.answer.send(request.connection, request.head(200, STREAM_HEADERS))

    async def _end_when_idle(self) -> None:
        began = time.monotonic()
        while True:
            await sleep(IDLE_CHECK_SECONDS)
            now = time.monotonic()
            if self._requests or self._commands.running:
                continue
            if now - self._last_contact > SPARE_SECONDS:
                self._commands.drop_spare()
            if self._claim.claimed:
                limit = self._claim.idle_seconds + IDLE_MARGIN_SECONDS
                if now - self._last_contact > limit:
                    os._exit(0)
            elif self._unclaimed_exit and now - began > UNCLAIMED_SECONDS:
                os._exit(0)
