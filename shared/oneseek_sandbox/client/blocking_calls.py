"""What the blocking client can do, call by call. Written by tools/blocking_client.py: do not edit."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from contextlib import AbstractContextManager
    from typing import Unpack

    from oneseek_sandbox import models
    from oneseek_sandbox.client import fields as f
    from oneseek_sandbox.client.loop_thread import LoopThread
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.client.streams import BlockingDownload, Gap, Output
    from oneseek_sandbox.client.thread import ThreadSandbox
    from oneseek_sandbox.client.uploads import Content

__all__ = ["SandboxesCalls", "ThreadSandboxCalls"]


class SandboxesCalls:
    """The calls of `Sandboxes`, each of which waits for its result."""

    def __init__(self, wrapped: Sandboxes, loop: LoopThread) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def acquire(self, thread_id: str, **fields: Unpack[f.AcquireFields]) -> models.AcquireAnswer:
        """Return the thread's sandbox, made now if it has none."""
        return self._loop.run(self._wrapped.acquire(thread_id, **fields))

    def execute(
        self, command: str | Sequence[str], **fields: Unpack[f.ExecuteFields]
    ) -> models.ExecuteAnswer:
        """Run a command to its end. One that fails or times out is an answer, not an error."""
        return self._loop.run(self._wrapped.execute(command, **fields))

    def stream(
        self, command: str | Sequence[str], **fields: Unpack[f.ExecuteFields]
    ) -> Generator[Output | Gap | models.ExecuteAnswer, None, None]:
        """Run a command; yields its output as it comes and the answer last.

        A caller that takes it slowly slows the command; one that takes nothing for 30 s counts as
        gone. Closing the generator early ends the command.
        """
        return self._loop.iterate(self._wrapped.stream(command, **fields))

    def cancel(self, request_id: str, **reference: Unpack[f.Reference]) -> bool:
        """End the running command of `request_id`; False when it had ended.

        `*` ends every process of the sandbox and keeps its files; False when there was none.
        """
        return self._loop.run(self._wrapped.cancel(request_id, **reference))

    def start(
        self, command: str | Sequence[str], **fields: Unpack[f.StartFields]
    ) -> models.StartedAnswer:
        """Start a process in the background; it is found again by its `request_id`.

        Without one it gets one, and a start that is repeated is then another process. Without
        `timeout_seconds` it lives as long as its sandbox.
        """
        return self._loop.run(self._wrapped.start(command, **fields))

    def processes(self, **fields: Unpack[f.ListFields]) -> models.ProcessesAnswer:
        """List the processes of a sandbox that have a `request_id`, also those that have ended."""
        return self._loop.run(self._wrapped.processes(**fields))

    def attach(
        self, request_id: str, **fields: Unpack[f.AttachFields]
    ) -> Generator[models.OutputEvent | models.GapEvent | models.ProcessAnswer, None, None]:
        """Yield what a process prints, from `offset` on, and last the process when it has ended.

        Leaving it early leaves the process alone. Broken connections are taken up again unseen.
        """
        return self._loop.iterate(self._wrapped.attach(request_id, **fields))

    def output(
        self, request_id: str, *, wait_seconds: float = 0, **fields: Unpack[f.AttachFields]
    ) -> models.AttachAnswer:
        """Return what a process has printed from `offset` on, waiting for the first of it at most."""
        return self._loop.run(self._wrapped.output(request_id, wait_seconds=wait_seconds, **fields))

    def input(
        self, request_id: str, data: str = "", *, offset: int, **fields: Unpack[f.InputFields]
    ) -> models.InputAnswer:
        """Write to the standard input of a process that was started with `stdin_open`.

        Args:
            offset: Position of the first byte of `data` in all its input, so that what is sent
                twice is taken once; the last answer's `stdin_offset`.
        """
        return self._loop.run(self._wrapped.input(request_id, data, offset=offset, **fields))

    def signal(
        self, request_id: str, signal: str, **fields: Unpack[f.SignalFields]
    ) -> models.SignalAnswer:
        """Send a signal (`TERM`, `INT`, `KILL`...) to a process and what it has started."""
        return self._loop.run(self._wrapped.signal(request_id, signal, **fields))

    def ls(self, path: str | None = None, **fields: Unpack[f.LsFields]) -> models.LsAnswer:
        """List a directory; the workspace when no path is given."""
        return self._loop.run(self._wrapped.ls(path, **fields))

    def read_file(self, path: str, **fields: Unpack[f.ReadFields]) -> models.ReadFileAnswer:
        """Read a file, whole or in part."""
        return self._loop.run(self._wrapped.read_file(path, **fields))

    def write_file(
        self, path: str, content: str, **fields: Unpack[f.WriteFields]
    ) -> models.WriteFileAnswer:
        """Write a file, whole and atomically, or append to it."""
        return self._loop.run(self._wrapped.write_file(path, content, **fields))

    def upload(
        self, path: str, content: Content, **fields: Unpack[f.UploadFields]
    ) -> models.WriteFileAnswer:
        """Write a file from bytes, from a local file (a `Path`), or from a stream, of any size.

        An iterable that is not async is read in threads. Errors of a local file are `OSError`.
        """
        return self._loop.run(self._wrapped.upload(path, content, **fields))

    def download(
        self, path: str, **fields: Unpack[f.DownloadFields]
    ) -> AbstractContextManager[BlockingDownload]:
        """Open a file; its bytes come while the context lasts."""
        return self._loop.downloading(self._wrapped.download(path, **fields))

    def replace(
        self, path: str, old: str, new: str, **fields: Unpack[f.ReplaceFields]
    ) -> models.ReplaceAnswer:
        """Replace exact text in a file; not found and not unique are errors."""
        return self._loop.run(self._wrapped.replace(path, old, new, **fields))

    def release(self, **reference: Unpack[f.Reference]) -> models.ReleaseAnswer:
        """End a sandbox and everything in it; a repeat is no error."""
        return self._loop.run(self._wrapped.release(**reference))

    def cleanup_idle(self) -> models.CleanupIdleAnswer:
        """End idle sandboxes now, and settle what crashes left behind."""
        return self._loop.run(self._wrapped.cleanup_idle())

    def list_sandboxes(
        self, *, label: Mapping[str, str] | None = None
    ) -> models.ListSandboxesAnswer:
        """Return the live sandboxes of the scopes that the key reaches.

        Args:
            label: Only those that carry all of these labels, with these values.
        """
        return self._loop.run(self._wrapped.list_sandboxes(label=label))


class ThreadSandboxCalls:
    """The calls of `ThreadSandbox`, each of which waits for its result."""

    def __init__(self, wrapped: ThreadSandbox, loop: LoopThread) -> None:
        self._wrapped = wrapped
        self._loop = loop

    def acquire(self) -> models.AcquireAnswer:
        """Ask for the sandbox now, also when it is believed to be there."""
        return self._loop.run(self._wrapped.acquire())

    def execute(
        self, command: str | Sequence[str], **options: Unpack[f.ExecuteOptions]
    ) -> models.ExecuteAnswer:
        """Run a command to its end."""
        return self._loop.run(self._wrapped.execute(command, **options))

    def stream(
        self, command: str | Sequence[str], **options: Unpack[f.ExecuteOptions]
    ) -> Generator[Output | Gap | models.ExecuteAnswer, None, None]:
        """Run a command; yields its output as it comes and the answer last."""
        return self._loop.iterate(self._wrapped.stream(command, **options))

    def cancel(self, request_id: str) -> bool:
        """End the running command of `request_id`; False when it had ended."""
        return self._loop.run(self._wrapped.cancel(request_id))

    def start(
        self, command: str | Sequence[str], **options: Unpack[f.StartOptions]
    ) -> models.StartedAnswer:
        """Start a process in the background; it is found again by its `request_id`."""
        return self._loop.run(self._wrapped.start(command, **options))

    def processes(self, **options: Unpack[f.ListOptions]) -> models.ProcessesAnswer:
        """List the sandbox's processes that have a `request_id`."""
        return self._loop.run(self._wrapped.processes(**options))

    def attach(
        self, request_id: str, **options: Unpack[f.AttachOptions]
    ) -> Generator[models.OutputEvent | models.GapEvent | models.ProcessAnswer, None, None]:
        """Yield what a process prints, and last the process when it has ended."""
        return self._loop.iterate(self._wrapped.attach(request_id, **options))

    def output(
        self, request_id: str, *, wait_seconds: float = 0, **options: Unpack[f.AttachOptions]
    ) -> models.AttachAnswer:
        """Return what a process has printed from `offset` on."""
        return self._loop.run(
            self._wrapped.output(request_id, wait_seconds=wait_seconds, **options)
        )

    def input(
        self, request_id: str, data: str = "", *, offset: int, **options: Unpack[f.InputOptions]
    ) -> models.InputAnswer:
        """Write to the standard input of a process that was started with `stdin_open`."""
        return self._loop.run(self._wrapped.input(request_id, data, offset=offset, **options))

    def signal(
        self, request_id: str, signal: str, **options: Unpack[f.SignalOptions]
    ) -> models.SignalAnswer:
        """Send a signal to a process and what it has started."""
        return self._loop.run(self._wrapped.signal(request_id, signal, **options))

    def ls(self, path: str | None = None, **options: Unpack[f.LsOptions]) -> models.LsAnswer:
        """List a directory; the workspace when no path is given."""
        return self._loop.run(self._wrapped.ls(path, **options))

    def read_file(self, path: str, **options: Unpack[f.ReadOptions]) -> models.ReadFileAnswer:
        """Read a file, whole or in part."""
        return self._loop.run(self._wrapped.read_file(path, **options))

    def write_file(
        self, path: str, content: str, **options: Unpack[f.WriteOptions]
    ) -> models.WriteFileAnswer:
        """Write a file, whole and atomically, or append to it."""
        return self._loop.run(self._wrapped.write_file(path, content, **options))

    def upload(
        self, path: str, content: Content, **options: Unpack[f.UploadOptions]
    ) -> models.WriteFileAnswer:
        """Write a file from bytes, from a local file (a `Path`), or from a stream, of any size."""
        return self._loop.run(self._wrapped.upload(path, content, **options))

    def download(
        self, path: str, **options: Unpack[f.DownloadOptions]
    ) -> AbstractContextManager[BlockingDownload]:
        """Open a file; its bytes come while the context lasts."""
        return self._loop.downloading(self._wrapped.download(path, **options))

    def replace(
        self, path: str, old: str, new: str, **options: Unpack[f.ReplaceOptions]
    ) -> models.ReplaceAnswer:
        """Replace exact text in a file; not found and not unique are errors."""
        return self._loop.run(self._wrapped.replace(path, old, new, **options))

    def release(self) -> bool:
        """End the sandbox and everything in it; False when there was none.

        One that was acquired here is named by its id, so that the sandbox which another process may
        have acquired for the thread since is not ended.
        """
        return self._loop.run(self._wrapped.release())
