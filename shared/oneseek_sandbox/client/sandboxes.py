"""`Sandboxes`: the one interface of a backend to its threads' sandboxes, wherever they run.

Every implementation answers with the server's models and raises the server's errors. A sandbox is
named by keywords, as in HTTP: `sandbox_id=`, or `thread_id=` with an optional `scope=`.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

from pydantic import BaseModel

from oneseek_sandbox import models
from oneseek_sandbox.client.uploads import readable
from oneseek_sandbox.models.checking import check
from oneseek_sandbox.telemetry.operations import (
    Operation,
    observed,
    observed_context,
    observed_stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, Mapping, Sequence
    from contextlib import AbstractAsyncContextManager
    from typing import Self, Unpack

    from oneseek_sandbox.client import fields as f
    from oneseek_sandbox.client.streams import Download, Gap, Output
    from oneseek_sandbox.client.uploads import Content, LocalFile

__all__ = ["Sandboxes"]

_ATTACHED_SECONDS: Final = 20.0

RequestT = TypeVar("RequestT", bound=BaseModel)
AnswerT = TypeVar("AnswerT", bound=BaseModel)


class Sandboxes(ABC):
    """The sandboxes of many threads, as an async context manager.

    Every call raises a `SandboxError`: `InvalidRequestError` before anything is sent, the others of
    `oneseek_sandbox.errors` as the service says them. A cancelled call ends its command, unless it
    has a `request_id`.

    Each call is a span `sandbox.VERB` (docs/telemetry.md).
    """

    _works_here: ClassVar[bool] = False
    """Whether the verbs are done in this process, whose figures they then are."""

    async def __aenter__(self) -> Self:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def acquire(
        self, thread_id: str, **fields: Unpack[f.AcquireFields]
    ) -> models.AcquireAnswer:
        """Return the thread's sandbox, made now if it has none."""
        request = _request(models.AcquireRequest, fields, thread_id=thread_id)
        return await self._done("acquire", request, models.AcquireAnswer)

    async def execute(
        self, command: str | Sequence[str], **fields: Unpack[f.ExecuteFields]
    ) -> models.ExecuteAnswer:
        """Run a command to its end. One that fails or times out is an answer, not an error."""
        request = _request(models.ExecuteRequest, fields, command=_command(command))
        return await self._done("execute", request, models.ExecuteAnswer)

    def stream(
        self, command: str | Sequence[str], **fields: Unpack[f.ExecuteFields]
    ) -> AsyncGenerator[Output | Gap | models.ExecuteAnswer, None]:
        """Run a command; yields its output as it comes and the answer last.

        A caller that takes it slowly slows the command; one that takes nothing for 30 s counts as
        gone. Closing the generator early ends the command.
        """
        request = _request(models.ExecuteRequest, fields, command=_command(command))
        begin = functools.partial(self._operation, "execute", request)
        return observed_stream(begin, self._stream(request), models.ExecuteAnswer)

    async def cancel(self, request_id: str, **reference: Unpack[f.Reference]) -> bool:
        """End the running command of `request_id`; False when it had ended.

        `*` ends every process of the sandbox and keeps its files; False when there was none.
        """
        request = _request(models.ExecuteRequest, reference, cancel=request_id)
        return (await self._done("execute", request, models.CancelAnswer)).cancelled

    async def start(
        self, command: str | Sequence[str], **fields: Unpack[f.StartFields]
    ) -> models.StartedAnswer:
        """Start a process in the background; it is found again by its `request_id`.

        Without one it gets one, and a start that is repeated is then another process. Without
        `timeout_seconds` it lives as long as its sandbox.
        """
        command = _command(command)
        request = _request(models.ExecuteRequest, fields, command=command, background=True)
        return await self._done("execute", request, models.StartedAnswer)

    async def processes(self, **fields: Unpack[f.ListFields]) -> models.ProcessesAnswer:
        """List the processes of a sandbox that have a `request_id`, also those that have ended."""
        request = _request(models.ProcessesRequest, fields)
        return await self._done("processes", request, models.ProcessesAnswer)

    async def attach(
        self, request_id: str, **fields: Unpack[f.AttachFields]
    ) -> AsyncGenerator[models.OutputEvent | models.GapEvent | models.ProcessAnswer, None]:
        """Yield what a process prints, from `offset` on, and last the process when it has ended.

        Leaving it early leaves the process alone. Broken connections are taken up again unseen.
        """
        request = _request(models.AttachRequest, fields, request_id=request_id)
        while True:
            waiting = request.model_copy(update={"wait_seconds": _ATTACHED_SECONDS})
            answer = await self._done("attach", waiting, models.AttachAnswer)
            for event in answer.events:
                yield event
            if answer.is_over:
                yield answer.process
                return
            request = request.model_copy(update={"offset": answer.next_offset})

    async def output(
        self, request_id: str, *, wait_seconds: float = 0, **fields: Unpack[f.AttachFields]
    ) -> models.AttachAnswer:
        """Return what a process has printed from `offset` on, waiting for the first of it at most."""
        request = _request(
            models.AttachRequest, fields, request_id=request_id, wait_seconds=wait_seconds
        )
        return await self._done("attach", request, models.AttachAnswer)

    async def input(
        self, request_id: str, data: str = "", *, offset: int, **fields: Unpack[f.InputFields]
    ) -> models.InputAnswer:
        """Write to the standard input of a process that was started with `stdin_open`.

        Args:
            offset: Position of the first byte of `data` in all its input, so that what is sent
                twice is taken once; the last answer's `stdin_offset`.
        """
        request = _request(
            models.InputRequest, fields, request_id=request_id, data=data, offset=offset
        )
        return await self._done("input", request, models.InputAnswer)

    async def signal(
        self, request_id: str, signal: str, **fields: Unpack[f.SignalFields]
    ) -> models.SignalAnswer:
        """Send a signal (`TERM`, `INT`, `KILL`...) to a process and what it has started."""
        request = _request(models.SignalRequest, fields, request_id=request_id, signal=signal)
        return await self._done("signal", request, models.SignalAnswer)

    async def ls(self, path: str | None = None, **fields: Unpack[f.LsFields]) -> models.LsAnswer:
        """List a directory; the workspace when no path is given."""
        return await self._done(
            "ls", _request(models.LsRequest, fields, path=path), models.LsAnswer
        )

    async def read_file(self, path: str, **fields: Unpack[f.ReadFields]) -> models.ReadFileAnswer:
        """Read a file, whole or in part."""
        request = _request(models.ReadFileRequest, fields, path=path)
        return await self._done("read_file", request, models.ReadFileAnswer)

    async def write_file(
        self, path: str, content: str, **fields: Unpack[f.WriteFields]
    ) -> models.WriteFileAnswer:
        """Write a file, whole and atomically, or append to it."""
        request = _request(models.WriteFileRequest, fields, path=path, content=content)
        return await self._done("write_file", request, models.WriteFileAnswer)

    async def upload(
        self, path: str, content: Content, **fields: Unpack[f.UploadFields]
    ) -> models.WriteFileAnswer:
        """Write a file from bytes, from a local file (a `Path`), or from a stream, of any size.

        An iterable that is not async is read in threads. Errors of a local file are `OSError`.
        """
        target = _request(models.WriteFileTarget, fields, path=path)
        with readable(content) as body:
            return await observed(self._operation("write_file", target), self._upload(target, body))

    def download(
        self, path: str, **fields: Unpack[f.DownloadFields]
    ) -> AbstractAsyncContextManager[Download]:
        """Open a file; its bytes come while the context lasts."""
        request = _request(models.ReadFileRequest, fields, path=path)
        begin = functools.partial(self._operation, "read_file", request)
        return observed_context(begin, self._download(request))

    async def replace(
        self, path: str, old: str, new: str, **fields: Unpack[f.ReplaceFields]
    ) -> models.ReplaceAnswer:
        """Replace exact text in a file; not found and not unique are errors."""
        request = _request(models.ReplaceRequest, fields, path=path, old=old, new=new)
        return await self._done("replace", request, models.ReplaceAnswer)

    async def release(self, **reference: Unpack[f.Reference]) -> models.ReleaseAnswer:
        """End a sandbox and everything in it; a repeat is no error."""
        request = _request(models.ReleaseRequest, reference)
        return await self._done("release", request, models.ReleaseAnswer)

    async def cleanup_idle(self) -> models.CleanupIdleAnswer:
        """End idle sandboxes now, and settle what crashes left behind."""
        return await self._done(
            "cleanup_idle", models.CleanupIdleRequest(), models.CleanupIdleAnswer
        )

    async def _done(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        work = self._call(verb, request, answer)
        return await observed(self._operation(verb, request), work)

    def _operation(self, verb: str, request: BaseModel) -> Operation:
        here = self._works_here
        operation = Operation("sandbox", verb, "internal" if here else "client", counted=here)
        operation.note(request)
        return operation

    async def list_sandboxes(
        self, *, label: Mapping[str, str] | None = None
    ) -> models.ListSandboxesAnswer:
        """Return the live sandboxes of the scopes that the key reaches.

        Args:
            label: Only those that carry all of these labels, with these values.
        """
        return await self._list(_request(models.SandboxesQuery, {}, label=label and dict(label)))

    @abstractmethod
    async def _list(self, request: models.SandboxesQuery) -> models.ListSandboxesAnswer:
        """Return the live sandboxes."""

    @abstractmethod
    async def open(self) -> None:
        """Get ready, and raise what would make every call fail."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of connections and processes of this side; sandboxes stay."""

    @abstractmethod
    async def _call(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        """Do what `request` says; the answer is of that type."""

    @abstractmethod
    def _stream(
        self, request: models.ExecuteRequest
    ) -> AsyncGenerator[Output | Gap | models.ExecuteAnswer, None]:
        """Run a command, with its output as it comes."""

    @abstractmethod
    async def _upload(
        self, target: models.WriteFileTarget, content: bytes | LocalFile | AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        """Write a file from bytes."""

    @abstractmethod
    def _download(self, request: models.ReadFileRequest) -> AbstractAsyncContextManager[Download]:
        """Open a file."""


def _request(model: type[RequestT], fields: Mapping[str, Any], **more: object) -> RequestT:
    given = {**fields, **more}
    return check(model, {name: value for name, value in given.items() if value is not None})


def _command(command: str | Sequence[str]) -> str | list[str]:
    return command if isinstance(command, str) else list(command)
