"""The eight verbs over three ports: the lease store, the runtime, and the workers inside.

The control verbs (`acquire`, `release`, `cleanup_idle`) use all three. The data verbs use the store
and the worker's address only, and never judge a sandbox dead: one that does not answer is marked,
and the next acquire looks at it.
"""

from __future__ import annotations

from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.control import translation as answers
from oneseek_sandbox.control.cleanup import Cleanup
from oneseek_sandbox.control.commands import directory_path, file_path, worker_command
from oneseek_sandbox.control.in_flight import OutputInFlight
from oneseek_sandbox.control.processes import Processes
from oneseek_sandbox.errors import ConfigurationError, InvalidRequestError, UnavailableError
from oneseek_sandbox.leases.given import write_mapping
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.models import (
    CancelAnswer,
    ListSandboxesAnswer,
    ReplaceAnswer,
    WriteFileAnswer,
)
from oneseek_sandbox.telemetry.instruments import LIVE
from oneseek_sandbox.workers.execution import ALL_OUTPUT
from oneseek_sandbox.workers.replies import Exit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Mapping

    from oneseek_sandbox import models
    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.clock import Clock
    from oneseek_sandbox.control.acquisition import Acquisition
    from oneseek_sandbox.control.pins import Pins
    from oneseek_sandbox.leases.store import LeaseStore
    from oneseek_sandbox.settings import Settings
    from oneseek_sandbox.workers.client import OpenFile, WorkerClient
    from oneseek_sandbox.workers.execution import Gap, Piece, Started

__all__ = ["Provisioner"]

_FILE_OPERATION_MS: Final = 60_000
_READY_MS: Final = 1000
"""Of the writes that only ask whether the store takes them, this often one is really done."""
_TRANSFER_MS: Final = 3_600_000


class Provisioner:
    """The eight verbs: every function, the gateway and the tests call these methods.

    Args:
        acquisition: None in a process that serves data verbs only; with it, the runtime.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        store: LeaseStore,
        workers: WorkerClient,
        pins: Pins,
        clock: Clock,
        acquisition: Acquisition | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._workers = workers
        self._pins = pins
        self._clock = clock
        self._acquisition = acquisition
        self.processes = Processes(settings, pins, workers, is_function=acquisition is None)
        self._in_flight = OutputInFlight(settings.max_output_bytes)

    async def open(self) -> None:
        """Connect to the store, and let the runtime test that its sandboxes are isolated."""
        await self._store.open()
        if self._acquisition is not None:
            await self._acquisition.runtime.open()

    async def close(self) -> None:
        """Let creations end, then let go of every connection; sandboxes stay."""
        if self._acquisition is not None:
            await self._acquisition.close()
        await self._pins.close()
        await self._workers.close()
        await self._store.close()

    # The control plane

    async def acquire(self, request: models.AcquireRequest, caller: Caller) -> models.AcquireAnswer:
        """Return the thread's sandbox, made now if it has none."""
        async with self.acquiring(request, caller) as answer:
            return answer

    @asynccontextmanager
    async def acquiring(
        self, request: models.AcquireRequest, caller: Caller
    ) -> AsyncIterator[models.AcquireAnswer]:
        """Acquire, and deliver the answer inside: left with an error, the caller did not hear it.

        The next acquire then tells what is new of the sandbox (`reused`, `restarted`).
        """
        control = self._control_plane()
        thread = Thread(caller.scope(request.scope), request.thread_id)
        seconds = request.idle_timeout_seconds
        acquired = await control.acquire(
            thread,
            idle_ms=None if seconds is None else 1000 * seconds,
            labels=write_mapping(request.labels),
            env=write_mapping(request.env),
        )
        heard = False
        try:
            yield answers.acquired(
                acquired.lease,
                self._settings.workspace_dir,
                fresh=acquired.fresh,
                restarted=acquired.restarted,
            )
            heard = True
        finally:
            await control.settle_news(acquired, heard=heard)

    async def release(self, request: models.ReleaseRequest, caller: Caller) -> models.ReleaseAnswer:
        """End a sandbox now, whatever runs in it."""
        locate = partial(self._pins.locate, also_ended=True)
        return await self._control_plane().releases.release(request, caller, locate)

    async def cleanup_idle(
        self, request: models.CleanupIdleRequest, caller: Caller
    ) -> models.CleanupIdleAnswer:
        """End idle sandboxes, and settle what crashes left behind."""
        del request
        caller.require_operator("cleanup_idle")
        control = self._control_plane()
        done = await Cleanup(
            self._store,
            control.runtime,
            control.creator,
            control.judge,
            sweep_ms=1000 * self._settings.sweep_interval_seconds,
            now_ms=self._clock.now_ms(),
        ).run()
        with suppress(UnavailableError):
            await self.count_live()
        return done

    async def list_sandboxes(
        self, caller: Caller, *, label: Mapping[str, str]
    ) -> models.ListSandboxesAnswer:
        """Return the live sandboxes that the caller's key reaches and that carry these labels."""
        control = self._control_plane()
        leases = [x for x in await self._store.leases() if caller.reaches(x.thread.scope)]
        # They lie on the server's machine, and nobody knows whose they were.
        damaged = list(await control.runtime.damaged()) if caller.scopes is None else []
        return ListSandboxesAnswer(sandboxes=answers.listed(leases, label), damaged=damaged)

    async def shortages(self) -> list[str]:
        """Return what keeps this process from doing its work just now; a write to the store tells.

        Raises:
            StoreUnavailableError: The store takes no writes.
        """
        await self._store.once("readyz", _READY_MS)
        control = self._acquisition
        return list(await control.runtime.shortages()) if control else []

    async def count_live(self) -> None:
        """Ask the store how many sandboxes are live, for the figures."""
        LIVE.set(await self._store.count())

    # The data plane

    async def execute(
        self, request: models.ExecuteRequest, caller: Caller, *, stream: bool = False
    ) -> AsyncGenerator[Started | Piece | Gap | models.ExecuteAnswer, None]:
        """Run a command; yields the answer, and with `stream` before that its start and its output.

        A caller that stops listening cancels a command without `request_id`.
        """
        if request.stream_all and not stream:
            raise InvalidRequestError(
                "stream_all: only for a stream; ask for one with 'Accept: text/event-stream'."
            )
        live_bytes = ALL_OUTPUT if request.stream_all else None
        command = worker_command(request, self._settings, stream=stream)
        limit_ms = command["timeout_ms"] + command["grace_ms"]
        with self._in_flight.room(command["max_output_bytes"]):
            async with (
                self._pins.hold(request, caller, limit_ms, request_id=request.request_id) as lease,
                aclosing(self._workers.execute(lease, command, live_bytes=live_bytes)) as events,
            ):
                async for event in events:
                    if isinstance(event, Exit):
                        break
                    yield event
                else:
                    raise AssertionError("the worker's client ends with an Exit or an error")
            # After the pin is gone: a caller may leave as soon as it has the answer. Until then, the
            # answer is held, and its bytes are not.
            answer = answers.executed(event, request, self._settings)
            del event
            yield answer

    async def cancel(self, request: models.ExecuteRequest, caller: Caller) -> models.CancelAnswer:
        """End the running command that `request.cancel` names."""
        async with self._pins.hold(request, caller, _FILE_OPERATION_MS) as lease:
            cancelled = await self._workers.cancel(lease, request.cancel or "")
        return CancelAnswer(cancelled=cancelled.cancelled)

    async def ls(self, request: models.LsRequest, caller: Caller) -> models.LsAnswer:
        """List a directory."""
        wanted = request.model_dump(include={"depth", "limit", "cursor"})
        named = "path" in request.model_fields_set
        path = request.path if named else self._settings.workspace_dir
        wanted["path"] = directory_path(path, self._settings)
        async with self._pins.hold(request, caller, _FILE_OPERATION_MS) as lease:
            return answers.directory(await self._workers.ls(lease, wanted))

    @asynccontextmanager
    async def open_file(
        self, request: models.ReadFileRequest, caller: Caller, *, limit_ms: int = _TRANSFER_MS
    ) -> AsyncIterator[OpenFile]:
        """Open a file for reading as a stream of bytes, of any size."""
        wanted = request.model_dump(include={"start_line", "end_line", "offset", "limit"})
        wanted["path"] = file_path(request.path, self._settings)
        async with (
            self._pins.hold(request, caller, limit_ms) as lease,
            self._workers.read(lease, wanted) as file,
        ):
            yield file

    async def read_file(
        self, request: models.ReadFileRequest, caller: Caller
    ) -> models.ReadFileAnswer:
        """Read a file, whole or in part."""
        most = self._settings.max_request_bytes
        if request.limit is not None and request.limit > most:
            raise InvalidRequestError(
                f"limit: {request.limit} is over {most}; read in parts, or as a stream with the "
                "header 'Accept: application/octet-stream'."
            )
        bounded = request.model_copy(
            update={"limit": request.limit or self._settings.max_output_bytes}
        )
        async with self.open_file(bounded, caller, limit_ms=_FILE_OPERATION_MS) as file:
            content = b"".join([chunk async for chunk in file.chunks])
        return answers.read(request, content, file.meta)

    async def write_file(
        self, request: models.WriteFileRequest, caller: Caller
    ) -> models.WriteFileAnswer:
        """Write a file."""
        content = answers.content_bytes(request)
        return await self._write(request, caller, content, _FILE_OPERATION_MS)

    async def write_stream(
        self, target: models.WriteFileTarget, caller: Caller, body: AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        """Write a file from a stream of bytes, of any size."""
        return await self._write(target, caller, body, _TRANSFER_MS)

    async def _write(
        self,
        target: models.WriteFileTarget,
        caller: Caller,
        content: bytes | AsyncIterable[bytes],
        limit_ms: int,
    ) -> models.WriteFileAnswer:
        # Workers of before refuse fields that they do not know: what was not asked for is not sent.
        meta = target.model_dump(
            include={"append", "create_only", "if_sha256", "mode", "sync"}, exclude_defaults=True
        )
        meta["path"] = file_path(target.path, self._settings)
        async with self._pins.hold(target, caller, limit_ms) as lease:
            written = await self._workers.write(lease, meta, content)
        return WriteFileAnswer(
            path=target.path, size=written.size, sha256=written.sha256, created=written.created
        )

    async def replace(self, request: models.ReplaceRequest, caller: Caller) -> models.ReplaceAnswer:
        """Replace exact text in a file."""
        wanted = request.model_dump(include={"old", "new", "replace_all", "if_sha256"})
        wanted["path"] = file_path(request.path, self._settings)
        async with self._pins.hold(request, caller, _FILE_OPERATION_MS) as lease:
            replaced = await self._workers.replace(lease, wanted)
        return ReplaceAnswer(
            path=request.path, replacements=replaced.replacements, sha256=replaced.sha256
        )

    def _control_plane(self) -> Acquisition:
        if self._acquisition is None:
            raise ConfigurationError("This process serves data verbs only.")
        return self._acquisition
