"""The verbs of managed processes: found by the `request_id` that started them, whoever asks."""

from __future__ import annotations

import secrets
import time
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import models
from oneseek_sandbox.control.attaching import MAX_OF_A_FUNCTION, Reader, Readers
from oneseek_sandbox.control.commands import background_command
from oneseek_sandbox.control.translation import bytes_of, described, moment
from oneseek_sandbox.errors import (
    AnswerLostError,
    InputFullError,
    InputGapError,
    ProcessEndedError,
    ProcessLostError,
    ProcessNotFoundError,
    SandboxError,
    StdinClosedError,
)
from oneseek_sandbox.recent import Recent
from oneseek_sandbox.workers.processes import ProcessClient

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.control.pins import Pins
    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.settings import Settings
    from oneseek_sandbox.workers.client import WorkerClient

__all__ = ["Processes"]

_QUESTION_MS: Final = 60_000
_INPUT_AT_ONCE: Final = 256 * 1024
_REMEMBERED: Final = 1000
_REMEMBERED_SECONDS: Final = 5.0


class Processes:
    """Starts processes in the background, and does what callers ask of them afterwards.

    Args:
        is_function: This process is one of many, and may have only so many readers at a time.
    """

    def __init__(
        self,
        settings: Settings,
        pins: Pins,
        workers: WorkerClient,
        *,
        is_function: bool = False,
    ) -> None:
        self._settings = settings
        self._pins = pins
        self._workers = ProcessClient(workers)
        self._readers = Readers(MAX_OF_A_FUNCTION if is_function else None)
        self._spoken_to: Recent[tuple[object, ...], tuple[float, Lease]] = Recent(_REMEMBERED)

    async def start(self, request: models.ExecuteRequest, caller: Caller) -> models.StartedAnswer:
        """Start a process in the background; answered once its program runs."""
        request_id = request.request_id or secrets.token_hex(16)
        named = request.model_copy(update={"request_id": request_id})
        command = background_command(named, self._settings)
        limit_ms = command["timeout_ms"]
        busy_ms = 0 if limit_ms is None else limit_ms + command["grace_ms"]
        async with self._pins.hold(
            request, caller, _QUESTION_MS, request_id=request_id, busy_ms=busy_ms
        ) as lease:
            begun = await self._workers.start(lease, command)
        return models.StartedAnswer(
            request_id=request_id,
            sandbox_id=lease.sandbox_id,
            pid=begun.pid,
            started_at=moment(begun.started_ms),
        )

    async def processes(
        self, request: models.ProcessesRequest, caller: Caller
    ) -> models.ProcessesAnswer:
        """List processes; one that is named and was lost in a restart is told as lost."""
        wanted = request.model_dump(include={"request_id", "state", "limit"})
        wanted["cursor"] = None if request.cursor is None else int(request.cursor)
        try:
            async with self._asking(request, caller, request.request_id) as lease:
                if request.state == "lost":
                    return models.ProcessesAnswer(processes=[])
                found = await self._workers.list(lease, wanted)
        except ProcessLostError:
            lost = models.ProcessAnswer(request_id=request.request_id or "", state="lost")
            return models.ProcessesAnswer(
                processes=[lost] if request.state in (None, "lost") else []
            )
        return models.ProcessesAnswer(
            processes=[described(process) for process in found.processes],
            cursor=None if found.cursor is None else str(found.cursor),
        )

    async def attach(self, request: models.AttachRequest, caller: Caller) -> models.AttachAnswer:
        """Return output from a position on, when there is some, at the end, or after the wait."""
        async with self.attached(request, caller) as reader:
            return await reader.read(request.wait_seconds or 0)

    @asynccontextmanager
    async def attached(
        self, request: models.AttachRequest, caller: Caller
    ) -> AsyncIterator[Reader]:
        """Read output inside, for as long as the request says."""
        limit_ms = _QUESTION_MS + round(1000 * (request.wait_seconds or 0))
        with self._readers.one(caller) if request.wait_seconds else nullcontext():
            async with self._asking(request, caller, request.request_id, limit_ms) as lease:
                yield Reader(self._workers, lease, request)

    async def input(self, request: models.InputRequest, caller: Caller) -> models.InputAnswer:
        """Write to a process's standard input."""
        data = bytes_of("data", request.data, request.encoding)
        return await self.give(request, caller, data, resize=request.resize)

    async def give(
        self,
        target: models.InputTarget,
        caller: Caller,
        data: bytes,
        *,
        resize: models.WindowSize | None = None,
    ) -> models.InputAnswer:
        """Write bytes to a process's standard input.

        The lease of a process that was spoken to lately is not looked up again; should it have
        changed since, its worker says so, and what is sent twice is taken once.
        """
        key = (caller, target.sandbox_id, target.thread_id, target.scope, target.request_id)
        until, known = self._spoken_to.get(key) or (0.0, None)
        if known is not None and time.monotonic() < until:
            try:
                return await self._give(known, target, data, resize)
            except (InputFullError, InputGapError, StdinClosedError, ProcessEndedError):
                raise
            except SandboxError:
                self._spoken_to[key] = (0.0, known)
        async with self._asking(target, caller, target.request_id) as lease:
            taken = await self._give(lease, target, data, resize)
        self._spoken_to[key] = (time.monotonic() + _REMEMBERED_SECONDS, lease)
        return taken

    async def _give(
        self,
        lease: Lease,
        target: models.InputTarget,
        data: bytes,
        resize: models.WindowSize | None,
    ) -> models.InputAnswer:
        """Give a worker the bytes, in parts."""
        starts = range(0, max(1, len(data)), _INPUT_AT_ONCE)
        for start in starts:
            taken = await self._workers.input(
                lease,
                target.request_id,
                data[start : start + _INPUT_AT_ONCE],
                offset=target.offset + start,
                close=target.close and start == starts[-1],
                resize=None if resize is None or start else resize.model_dump(),
            )
        return models.InputAnswer(stdin_offset=taken.stdin_offset, pending=taken.pending)

    async def signal(self, request: models.SignalRequest, caller: Caller) -> models.SignalAnswer:
        """Send a signal."""
        wanted = request.model_dump(include={"request_id", "signal", "to"})
        async with self._asking(request, caller, request.request_id) as lease:
            sent = await self._workers.signal(lease, wanted)
        return models.SignalAnswer(delivered=sent.delivered, state=sent.state)

    @asynccontextmanager
    async def _asking(
        self,
        reference: models.SandboxReference,
        caller: Caller,
        request_id: str | None,
        limit_ms: int = _QUESTION_MS,
    ) -> AsyncIterator[Lease]:
        """Pin the lease for a question about a process; its errors say which sandbox has none."""
        try:
            async with self._pins.hold(reference, caller, limit_ms, sent=request_id) as lease:
                try:
                    yield lease
                except ProcessNotFoundError as error:
                    raise _not_found(lease) from error
        except AnswerLostError as error:
            raise ProcessLostError(
                "The sandbox was restarted since this process was started: it is gone, and what it "
                "printed too. What it has done to files may be there; look before you start it "
                "again, with another request_id.",
                may_have_run=True,
            ) from error


def _not_found(lease: Lease) -> ProcessNotFoundError:
    return ProcessNotFoundError(
        f"No process of sandbox {lease.sandbox_id} (generation {lease.generation}) has this "
        "request_id. List them; one that was started in an earlier sandbox of the thread ended "
        "with that."
    ).having(generation=lease.generation)
