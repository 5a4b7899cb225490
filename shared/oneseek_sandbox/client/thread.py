"""One thread's sandbox, as a backend works with it: there when it is first used, and again when gone."""

from __future__ import annotations

import asyncio
import functools
import logging
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from oneseek_sandbox.errors import (
    LeaseNotFoundError,
    SandboxError,
    SandboxGoneError,
    SandboxLostError,
    SandboxReplacedError,
    SandboxUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Sequence,
    )
    from typing import Unpack

    from oneseek_sandbox import models
    from oneseek_sandbox.client import fields as f
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.streams import Download, Gap, Output
    from oneseek_sandbox.client.uploads import Content

__all__ = ["GONE", "ThreadSandbox"]

AnswerT = TypeVar("AnswerT")

GONE = (SandboxGoneError, LeaseNotFoundError)
"""What a call meets whose sandbox is over, or forgotten by the store."""

log = logging.getLogger(__name__)


class ThreadSandbox:
    """The sandbox of one conversation thread.

    It is acquired when it is first needed and named by its `sandbox_id` from then on, so that no
    call meets another sandbox than the caller believes. When it turns out to be gone, it is acquired
    again, once a call, and the call raises `SandboxReplacedError`, which says whether the files are
    gone and whether the call may have taken effect. One that does not answer is acquired again by
    the next call, which has it started again. Nothing is repeated by itself.

    Args:
        thread_id: 1 to 256 characters.
        scope: Tenant or user.
        idle_timeout_seconds: Given to each acquire, as the following are.
        labels: By which `list_sandboxes` finds it.
        env: Variables of every command.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        thread_id: str,
        *,
        scope: str | None = None,
        idle_timeout_seconds: int | None = None,
        labels: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
    ) -> None:
        self.sandboxes = sandboxes
        self.thread_id = thread_id
        self.scope = scope
        self._given: f.AcquireFields = {
            "scope": scope,
            "idle_timeout_seconds": idle_timeout_seconds,
            "labels": labels,
            "env": env,
        }
        self._acquired: models.AcquireAnswer | None = None
        self._is_silent = False
        self._acquiring = asyncio.Lock()
        self._releases = 0

    @property
    def acquired(self) -> models.AcquireAnswer | None:
        """The last acquire's answer; None before the first."""
        return self._acquired

    async def acquire(self) -> models.AcquireAnswer:
        """Ask for the sandbox now, also when it is believed to be there."""
        async with self._acquiring:
            return await self._acquire()

    async def execute(
        self, command: str | Sequence[str], **options: Unpack[f.ExecuteOptions]
    ) -> models.ExecuteAnswer:
        """Run a command to its end."""
        return await self._in(functools.partial(self.sandboxes.execute, command, **options))

    async def stream(
        self, command: str | Sequence[str], **options: Unpack[f.ExecuteOptions]
    ) -> AsyncGenerator[Output | Gap | models.ExecuteAnswer, None]:
        """Run a command; yields its output as it comes and the answer last."""
        async with (
            self._presence() as sandbox_id,
            aclosing(self.sandboxes.stream(command, sandbox_id=sandbox_id, **options)) as events,
        ):
            async for event in events:
                yield event

    async def cancel(self, request_id: str) -> bool:
        """End the running command of `request_id`; False when it had ended."""
        return await self._in(functools.partial(self.sandboxes.cancel, request_id))

    async def start(
        self, command: str | Sequence[str], **options: Unpack[f.StartOptions]
    ) -> models.StartedAnswer:
        """Start a process in the background; it is found again by its `request_id`."""
        return await self._in(functools.partial(self.sandboxes.start, command, **options))

    async def processes(self, **options: Unpack[f.ListOptions]) -> models.ProcessesAnswer:
        """List the sandbox's processes that have a `request_id`."""
        return await self._in(functools.partial(self.sandboxes.processes, **options))

    async def attach(
        self, request_id: str, **options: Unpack[f.AttachOptions]
    ) -> AsyncGenerator[models.OutputEvent | models.GapEvent | models.ProcessAnswer, None]:
        """Yield what a process prints, and last the process when it has ended."""
        async with (
            self._presence() as sandbox_id,
            aclosing(self.sandboxes.attach(request_id, sandbox_id=sandbox_id, **options)) as events,
        ):
            async for event in events:
                yield event

    async def output(
        self, request_id: str, *, wait_seconds: float = 0, **options: Unpack[f.AttachOptions]
    ) -> models.AttachAnswer:
        """Return what a process has printed from `offset` on."""
        output = functools.partial(
            self.sandboxes.output, request_id, wait_seconds=wait_seconds, **options
        )
        return await self._in(output)

    async def input(
        self, request_id: str, data: str = "", *, offset: int, **options: Unpack[f.InputOptions]
    ) -> models.InputAnswer:
        """Write to the standard input of a process that was started with `stdin_open`."""
        give = functools.partial(self.sandboxes.input, request_id, data, offset=offset, **options)
        return await self._in(give)

    async def signal(
        self, request_id: str, signal: str, **options: Unpack[f.SignalOptions]
    ) -> models.SignalAnswer:
        """Send a signal to a process and what it has started."""
        return await self._in(
            functools.partial(self.sandboxes.signal, request_id, signal, **options)
        )

    async def ls(self, path: str | None = None, **options: Unpack[f.LsOptions]) -> models.LsAnswer:
        """List a directory; the workspace when no path is given."""
        return await self._in(functools.partial(self.sandboxes.ls, path, **options))

    async def read_file(self, path: str, **options: Unpack[f.ReadOptions]) -> models.ReadFileAnswer:
        """Read a file, whole or in part."""
        return await self._in(functools.partial(self.sandboxes.read_file, path, **options))

    async def write_file(
        self, path: str, content: str, **options: Unpack[f.WriteOptions]
    ) -> models.WriteFileAnswer:
        """Write a file, whole and atomically, or append to it."""
        write = functools.partial(self.sandboxes.write_file, path, content, **options)
        return await self._in(write)

    async def upload(
        self, path: str, content: Content, **options: Unpack[f.UploadOptions]
    ) -> models.WriteFileAnswer:
        """Write a file from bytes, from a local file (a `Path`), or from a stream, of any size."""
        return await self._in(functools.partial(self.sandboxes.upload, path, content, **options))

    @asynccontextmanager
    async def download(
        self, path: str, **options: Unpack[f.DownloadOptions]
    ) -> AsyncIterator[Download]:
        """Open a file; its bytes come while the context lasts."""
        async with AsyncExitStack() as opened:
            # Only the opening: what the caller does with the file is no loss of this sandbox.
            async with self._presence() as sandbox_id:
                file = await opened.enter_async_context(
                    self.sandboxes.download(path, sandbox_id=sandbox_id, **options)
                )
            yield file

    async def replace(
        self, path: str, old: str, new: str, **options: Unpack[f.ReplaceOptions]
    ) -> models.ReplaceAnswer:
        """Replace exact text in a file; not found and not unique are errors."""
        replace = functools.partial(self.sandboxes.replace, path, old, new, **options)
        return await self._in(replace)

    async def release(self) -> bool:
        """End the sandbox and everything in it; False when there was none.

        One that was acquired here is named by its id, so that the sandbox which another process may
        have acquired for the thread since is not ended.
        """
        async with self._acquiring:
            acquired, self._acquired = self._acquired, None
            self._releases += 1
            reference: f.Reference = {"thread_id": self.thread_id, "scope": self.scope}
            if acquired is not None:
                reference = {"sandbox_id": acquired.sandbox_id}
            try:
                return (await self.sandboxes.release(**reference)).released
            except GONE:
                return False

    async def _in(self, operation: Callable[..., Awaitable[AnswerT]]) -> AnswerT:
        async with self._presence() as sandbox_id:
            return await operation(sandbox_id=sandbox_id)

    @asynccontextmanager
    async def _presence(self) -> AsyncIterator[str]:
        """Give the `sandbox_id` to work with; when it turns out to be gone, acquire again and tell."""
        async with self._acquiring:
            acquired, releases = await self._present(), self._releases
        try:
            yield acquired.sandbox_id
        except SandboxUnavailableError:
            # Data verbs only mark it; an acquire finds out, and starts it again.
            self._is_silent = True
            raise
        except GONE as gone:
            if releases != self._releases:
                raise  # released on this side: nobody wants another
            raise await self._replacement(acquired, gone) from gone

    async def _present(self) -> models.AcquireAnswer:
        """Return the sandbox, acquired if there is none, or none that answers."""
        before = self._acquired
        if before is not None and not self._is_silent:
            return before
        current = await self._acquire()
        if before is not None and before.sandbox_id != current.sandbox_id:
            lost = SandboxLostError("It did not answer, and is gone.", may_have_run=False)
            raise SandboxReplacedError.after(
                lost, sandbox_id=current.sandbox_id, workspace_is_new=True
            )
        return current

    async def _replacement(self, lost: models.AcquireAnswer, gone: SandboxError) -> SandboxError:
        """Acquire again, once for all the calls that met the same loss, and return what to raise."""
        async with self._acquiring:
            current = self._acquired
            if current is None or current.sandbox_id == lost.sandbox_id:
                try:
                    current = await self._acquire()
                except SandboxError as error:
                    log.warning("A sandbox that is gone was not acquired again: %s", error)
                    return gone
        # An id that the service does not know and a sandbox that is there: the store was emptied, and
        # the running sandbox adopted. Any other end took the files along.
        has_files = isinstance(gone, LeaseNotFoundError) and current.reused
        return SandboxReplacedError.after(
            gone, sandbox_id=current.sandbox_id, workspace_is_new=not has_files
        )

    async def _acquire(self) -> models.AcquireAnswer:
        self._acquired = await self.sandboxes.acquire(self.thread_id, **self._given)
        self._is_silent = False
        return self._acquired
