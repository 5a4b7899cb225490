"""What a caller asks of managed processes: the list, their output, their input, signals."""

from __future__ import annotations

import binascii
import contextlib
import select
import signal
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.connection import ConnectionLost
from oneseek_sandbox.guest.worker.fields import utf8
from oneseek_sandbox.guest.worker.output import base64_text
from oneseek_sandbox.guest.worker.process_log import MAX_RUNS
from oneseek_sandbox.guest.worker.terminal import window_size

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oneseek_sandbox.guest.worker.command import Command
    from oneseek_sandbox.guest.worker.commands import Commands
    from oneseek_sandbox.guest.worker.http import Request
    from oneseek_sandbox.guest.worker.managed import Managed
    from oneseek_sandbox.guest.worker.terminal import Terminal

__all__ = [
    "MAX_ATTACH_BYTES",
    "MAX_READERS",
    "MAX_READERS_OF_ONE",
    "MAX_WAIT_MS",
    "SIGNALS",
    "ProcessVerbs",
]

MAX_READERS = 16
MAX_READERS_OF_ONE = 4
MAX_WAIT_MS = 60_000
MAX_ATTACH_BYTES = 256 * 1024
SIGNALS = ("TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL", "STOP", "CONT")


class ProcessVerbs:
    """The verbs of managed processes."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._table = commands.table
        self._readers = 0

    async def started(self, request: Request, request_id: str, command: Command | None) -> None:
        """Answer a start once the program runs; a repeat gets the same answer."""
        while command is not None and not (command.started or command.finished):
            await request.connection.wait_for(command.changed)
        if command is not None and command.error is not None:
            raise command.error
        managed = self._table.find(request_id)
        await request.answer({"pid": managed.pid, "started_ms": managed.started_ms})

    async def processes(self, request: Request) -> None:
        """List processes by their starts."""
        fields = await request.fields()
        request_id = fields.optional_text("request_id", limit=128)
        state = fields.optional_text("state", limit=16)
        limit = fields.integer("limit", 1, 1000)
        after = fields.optional_integer("cursor", 0, 1 << 53) or 0
        fields.close()
        found = self._table.list(after) if request_id is None else [self._table.find(request_id)]
        if state is not None:
            found = [managed for managed in found if managed.describe()["state"] == state]
        shown = [managed.describe() for managed in found[:limit]]
        more = found[limit - 1].number if len(found) > limit else None
        await request.answer({"processes": shown, "cursor": more})

    async def attach(self, request: Request) -> None:
        """Answer with output from a position on: at the first of it, the end, or after a while."""
        fields = await request.fields()
        managed = self._table.find(fields.text("request_id", limit=128))
        offset = fields.optional_integer("offset", 0, 1 << 62)
        wait_ms = fields.integer("wait_ms", 0, MAX_WAIT_MS)
        most = fields.integer("max_bytes", 1, MAX_ATTACH_BYTES)
        fields.close()
        position = managed.log.end if offset is None else offset
        events, after = self._events(managed, position, most)
        if not events and wait_ms and managed.is_running:
            with self._reading(managed):
                await self._wait(request, managed, position, time.monotonic() + wait_ms / 1000)
            events, after = self._events(managed, position, most)
        await request.answer(
            {"events": events, "next_offset": after, "process": managed.describe()}
        )

    @staticmethod
    async def _wait(request: Request, managed: Managed, position: int, deadline: float) -> None:
        connection = request.connection
        while managed.is_running and managed.log.end <= position and time.monotonic() < deadline:
            if await managed.changed.wait(deadline, connection.fd, select.EPOLLRDHUP):
                raise ConnectionLost

    @staticmethod
    def _events(managed: Managed, position: int, most: int) -> tuple[list[dict[str, Any]], int]:
        events: list[dict[str, Any]] = []
        while True:
            begin, pieces = managed.log.read(position, most)
            if begin > position:
                events.append({"gap": {"from": position, "to": begin}})
            for name, data in pieces:
                events.append({name: base64_text(data)})
                begin += len(data)
                most -= len(data)
            if begin == position or most <= 0 or len(events) >= MAX_RUNS:
                return events, begin
            position = begin

    @contextlib.contextmanager
    def _reading(self, managed: Managed) -> Iterator[None]:
        if self._readers >= MAX_READERS or managed.readers >= MAX_READERS_OF_ONE:
            raise WorkerError(
                "too_many_streams",
                f"{MAX_READERS_OF_ONE} readers wait for this process already, or {MAX_READERS} in "
                "this sandbox. End one, or ask without waiting.",
            )
        self._readers += 1
        managed.readers += 1
        try:
            yield
        finally:
            self._readers -= 1
            managed.readers -= 1

    async def input(self, request: Request) -> None:
        """Give a process input."""
        fields = await request.fields()
        managed = self._table.find(fields.text("request_id", limit=128))
        data = utf8(fields.text("data", ""), "data")
        offset = fields.integer("offset", 0, 1 << 62)
        close = fields.flag("close")
        resize = fields.raw("resize")
        size = None if resize is None else window_size("resize", resize)
        fields.close()
        try:
            content = binascii.a2b_base64(data)
        except binascii.Error:
            raise WorkerError("invalid_request", "data is not valid base64.") from None
        if not managed.is_running:
            raise _ended()
        if managed.stdin is None:
            raise WorkerError("stdin_closed", "The process was started without an open stdin.")
        if size is not None:
            _terminal(managed).resize(size)
        managed.stdin.take(content, offset, close=close)
        await request.answer(managed.stdin.details())

    async def signal(self, request: Request) -> None:
        """Send a signal to a process and what it has started, or to a part of that."""
        fields = await request.fields()
        managed = self._table.find(fields.text("request_id", limit=128))
        name = fields.text("signal", limit=8)
        to = fields.text("to", "all", limit=16)
        fields.close()
        if name not in SIGNALS or to not in ("all", "main", "foreground"):
            raise WorkerError("invalid_request", "No such signal, or nobody to send it to.")
        number = int(getattr(signal, "SIG" + name))
        if to == "foreground":
            _terminal(managed)
        delivered = self._commands.children.signal(managed, number, to)
        if not delivered and not (to == "foreground" and managed.is_running):
            raise _ended()
        await request.answer({"delivered": delivered, "state": managed.describe()["state"]})


def _terminal(managed: Managed) -> Terminal:
    if managed.terminal is None:
        raise WorkerError(
            "invalid_request",
            "This process has no terminal: it has no size, and nothing is in its foreground. Start "
            "it with `terminal` for that.",
        )
    return managed.terminal


def _ended() -> WorkerError:
    return WorkerError(
        "process_ended", "The process has ended, and nothing that it started is left."
    )
