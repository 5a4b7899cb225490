"""Leads each request to what answers it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import NotStartedError, WorkerError
from oneseek_sandbox.guest.worker.claim import Claim
from oneseek_sandbox.guest.worker.command_spec import CommandSpec, environment
from oneseek_sandbox.guest.worker.commands import Commands
from oneseek_sandbox.guest.worker.disk import Disk
from oneseek_sandbox.guest.worker.disks import Disks
from oneseek_sandbox.guest.worker.files import Files
from oneseek_sandbox.guest.worker.once import OnceTable
from oneseek_sandbox.guest.worker.paths import TEMPORARY, Workspace
from oneseek_sandbox.guest.worker.process_verbs import ProcessVerbs
from oneseek_sandbox.guest.worker.reach import Everywhere
from oneseek_sandbox.guest.worker.relay import STREAM_HEADERS, Relay
from oneseek_sandbox.guest.worker.scheduler import Scheduler, sleep, turn
from oneseek_sandbox.guest.worker.server import Server

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from typing import NoReturn

    from oneseek_sandbox.guest.worker.http import Request
    from oneseek_sandbox.guest.worker.options import Options

__all__ = [
    "EVERYTHING",
    "IDLE_CHECK_SECONDS",
    "IDLE_MARGIN_SECONDS",
    "MAX_CLAIM_BYTES",
    "MAX_STARTS",
    "SPARE_SECONDS",
    "UNCLAIMED_SECONDS",
    "Worker",
]

MAX_CLAIM_BYTES = 512 * 1024  # 64 KiB of variables, and what JSON makes of them
IDLE_MARGIN_SECONDS = 60.0
IDLE_CHECK_SECONDS = 5.0
SPARE_SECONDS = 30.0
UNCLAIMED_SECONDS = 120.0
MAX_STARTS = 3
EVERYTHING = "*"  # in place of a request_id, when all processes are to end


class Worker:
    """Leads each request to what answers it."""

    def __init__(self, options: Options, listener: socket.socket) -> None:
        self.scheduler = Scheduler()
        self._server = Server(self.scheduler, listener, self._dispatch)
        self._unclaimed_exit = options.unclaimed_exit
        self._claim = Claim(options.marker, options.uid)
        self._workspace = (
            Everywhere(options.workspace, options.private)
            if options.file_scope == "sandbox"
            else Workspace(options.workspace)
        )
        self._commands = Commands(self.scheduler, self._workspace, options)
        limit, floor = options.disk_limit, options.disk_floor
        self._disk = Disk(self.scheduler, self._workspace.root, limit, floor)
        self._tmp = Disk(self.scheduler, TEMPORARY, options.tmp_limit)
        self._disks = Disks(self._workspace, self._disk, self._tmp)
        self._files = Files(
            self.scheduler, self._workspace, self._disks, self._commands.children.sync
        )
        self._once = OnceTable()
        self._processes = ProcessVerbs(self._commands)
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
            ("POST", "/processes"): self._processes.processes,
            ("POST", "/attach"): self._processes.attach,
            ("POST", "/input"): self._processes.input,
            ("POST", "/signal"): self._processes.signal,
        }

    def run(self, wakeup: int) -> NoReturn:
        """Serve until idle for too long."""
        self.scheduler.spawn(self._server.accept())
        self.scheduler.spawn(self._commands.children.reap(wakeup))
        self.scheduler.spawn(self._files.sweep())
        self.scheduler.spawn(self._end_when_idle())
        self.scheduler.spawn(self._disk.watch(self._commands))
        self.scheduler.spawn(self._tmp.watch(self._commands))
        self.scheduler.run()

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

    async def _proof(self, request: Request) -> None:
        await request.answer(self._claim.prove(request.query_value("nonce") or ""))

    async def _take_claim(self, request: Request) -> None:
        fields = await request.fields(MAX_CLAIM_BYTES)
        token = fields.text("token")
        generation = fields.integer("generation", 0, 1 << 53)
        idle_seconds = fields.integer("idle_seconds", 1, 86_400 * 366)
        env = environment(fields.raw("env"))
        env_version = fields.integer("env_version", 0, 1 << 53, 0)
        fields.close()
        answer = self._claim.take(token, generation, idle_seconds)
        if env_version:
            self._commands.give(env, (generation, env_version))
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
        commands, processes = len(self._commands.running), self._commands.children.count()
        generation, version = self._commands.given
        if generation != self._claim.generation:  # what an earlier lease gave is not this one's
            version = 0
        answer = {"commands": commands, "processes": processes, "env_version": version}
        await request.answer({**answer, "lasting": self._commands.lasting})

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
        await self._disks.check(request.body.announced)
        await self._files.write(request)

    async def _replace(self, request: Request) -> None:
        await self._disks.check(0)
        await self._files.replace(request)

    async def _execute(self, request: Request) -> None:
        spec = CommandSpec(await request.fields(), request.headers.get("x-live-bytes"))
        self._disk.busy.notify()
        self._tmp.busy.notify()
        for _ in range(MAX_STARTS):
            began = time.monotonic()
            if self._commands.headroom.is_crowded():
                await self._commands.headroom.make(began)
            try:
                return await self._run(request, spec)
            except NotStartedError as error:
                if not error.lacks_room:
                    raise
                if not await self._commands.headroom.make(began):
                    raise self._commands.headroom.too_many(error) from None
                await turn()  # the table of request ids forgets what did not start
        return await self._run(request, spec)

    async def _run(self, request: Request, spec: CommandSpec) -> None:
        if spec.request_id is None:
            command = self._commands.start(spec)
            await Relay(request, command, command.listener, owner=True).run()
            return
        entry, listener = self._once.find(spec), None
        if entry is None:
            command = self._commands.start(spec)
            listener = command.listener
            entry = self._once.record(spec, command)
            self.scheduler.spawn(self._once.settle(spec, entry))
        if spec.background:
            await self._processes.started(request, spec.request_id, entry.command)
        elif entry.command is not None:
            await Relay(request, entry.command, listener).run()
        elif entry.answer is not None:
            await entry.answer.send(request.connection, request.head(200, STREAM_HEADERS))

    async def _end_when_idle(self) -> None:
        began = time.monotonic()
        while True:
            await sleep(IDLE_CHECK_SECONDS)
            now = time.monotonic()
            if self._server.requests or self._commands.lasting:
                continue
            if now - self._last_contact > SPARE_SECONDS:
                self._commands.children.drop_spares()
            if self._claim.claimed:
                limit = self._claim.idle_seconds + IDLE_MARGIN_SECONDS
                if now - self._last_contact > limit:
                    os._exit(0)
            elif self._unclaimed_exit and now - began > UNCLAIMED_SECONDS:
                os._exit(0)
