"""What workers and the store say, made into the answers of the verbs. Pure."""

from __future__ import annotations

import base64
import binascii
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import output
from oneseek_sandbox.errors import InvalidRequestError, NotTextError, OutputTooLargeError
from oneseek_sandbox.leases.given import read_mapping
from oneseek_sandbox.models import (
    AcquireAnswer,
    DirectoryEntry,
    ExecuteAnswer,
    ListedSandbox,
    LsAnswer,
    ProcessAnswer,
    ReadFileAnswer,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.models import ExecuteRequest, ReadFileRequest, WriteFileRequest
    from oneseek_sandbox.settings import Settings
    from oneseek_sandbox.workers.process_replies import Process
    from oneseek_sandbox.workers.replies import Entries, Exit, Kept, ReadMeta

__all__ = [
    "acquired",
    "bytes_of",
    "content_bytes",
    "described",
    "directory",
    "executed",
    "listed",
    "moment",
    "read",
    "stdin_fields",
]


_AS_IT_IS: Final = {
    "request_id", "command", "state", "pid", "exit_code", "killed_by", "leftover", "stdin_open",
    "stdin_offset",
}  # fmt: skip


def moment(milliseconds: int) -> datetime:
    """Return a time of the store or a worker."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


def acquired(lease: Lease, workspace: str, *, fresh: bool, restarted: bool) -> AcquireAnswer:
    """Answer an acquire, with the news that it is the one to tell."""
    placement = lease.placement
    return AcquireAnswer(
        sandbox_id=lease.sandbox_id,
        thread_id=lease.thread.thread_id,
        scope=lease.thread.scope,
        generation=lease.generation,
        reused=not fresh,
        warm=placement is not None and placement.warm,
        restarted=restarted,
        created_at=moment(lease.created_ms),
        last_used_at=moment(lease.used_ms),
        expires_at=moment(lease.expires_ms),
        workspace=workspace,
        # Or a server of before started it with a worker that cannot be given it.
        env_lost=lease.env_lost or (lease.env_version > 0 and not lease.gives_env),
    )


def listed(leases: Iterable[Lease], wanted: Mapping[str, str]) -> list[ListedSandbox]:
    """Describe the live leases that carry all of these labels."""
    described = [_listed(lease) for lease in leases if lease.state != "unknown"]
    return [sandbox for sandbox in described if wanted.items() <= sandbox.labels.items()]


def _listed(lease: Lease) -> ListedSandbox:
    return ListedSandbox(
        sandbox_id=lease.sandbox_id,
        thread_id=lease.thread.thread_id,
        scope=lease.thread.scope,
        generation=lease.generation,
        state="suspect" if lease.suspect else "ready" if lease.placement else "creating",
        running=lease.pins,
        created_at=moment(lease.created_ms),
        last_used_at=moment(lease.used_ms),
        expires_at=moment(lease.expires_ms),
        labels=read_mapping(lease.labels),
    )


def executed(end: Exit, request: ExecuteRequest, settings: Settings) -> ExecuteAnswer:
    """Answer an execute.

    Raises:
        OutputTooLargeError: There was more output than asked for, and that is to be an error.
    """
    if request.overflow == "error" and not (end.stdout.is_whole and end.stderr.is_whole):
        raise _too_large(end)
    stdout, stdout_shown = _kept_text(end.stdout, request.encoding)
    stderr, stderr_shown = _kept_text(end.stderr, request.encoding)
    return ExecuteAnswer(
        exit_code=end.exit_code,
        stdout=stdout,
        stderr=stderr,
        encoding=request.encoding,
        timed_out=end.timed_out,
        killed_by=end.killed_by,
        oom_kills=end.oom_kills,
        stdout_truncated=not end.stdout.is_whole,
        stderr_truncated=not end.stderr.is_whole,
        stdout_bytes=end.stdout.bytes,
        stderr_bytes=end.stderr.bytes,
        invalid_utf8=stdout_shown or stderr_shown,
        duration_ms=end.duration_ms,
        background=end.background,
        ended_background={output.printable(name): count for name, count in end.ended.items()},
        hint=output.hint_for(
            exit_code=end.exit_code,
            killed_by=end.killed_by,
            oom_kills=end.oom_kills,
            stderr=stderr,
            network=settings.network == "on",
            memory_limit=settings.memory_limit_in_words,
            timeout_seconds=request.limit_seconds or 0,
            max_timeout_seconds=settings.max_timeout_seconds,
            process_limit=settings.process_limit,
            ended=end.ended,
        ),
    )


def _too_large(end: Exit) -> OutputTooLargeError:
    sizes = f"{end.stdout.bytes} bytes to stdout and {end.stderr.bytes} to stderr"
    error = OutputTooLargeError(
        f"The command ended with exit code {end.exit_code} and printed {sizes}, which is more than "
        "max_output_bytes. It has run: do not repeat it for its output, unless that is harmless. "
        "Ask for more, stream it with stream_all, or let it write to a file and read that.",
        may_have_run=True,
    )
    return error.having(
        exit_code=end.exit_code, stdout_bytes=end.stdout.bytes, stderr_bytes=end.stderr.bytes
    )


def _kept_text(kept: Kept, encoding: str) -> tuple[str, bool]:
    data = output.joined(kept.head, kept.tail, kept.bytes, exact=encoding == "base64")
    return output.to_text(data, encoding=encoding)


def directory(found: Entries) -> LsAnswer:
    """Answer an ls."""
    entries = [
        DirectoryEntry(
            path=entry.path,
            type=entry.type,
            size=entry.size,
            mode=entry.mode,
            modified_at=moment(entry.mtime_ms),
        )
        for entry in found.entries
    ]
    return LsAnswer(entries=entries, truncated=found.truncated, cursor=found.cursor)


def read(request: ReadFileRequest, content: bytes, meta: ReadMeta) -> ReadFileAnswer:
    """Answer a read_file; a part of a text is cut between characters, unless it is only one.

    Raises:
        NotTextError: `utf-8` was asked for and the content is not.
    """
    part = content if not meta.truncated else output.without_partial_end(content) or content
    encoding = request.encoding
    if encoding is None:
        encoding = "utf-8" if _is_text(part) else "base64"
    if encoding == "base64":
        text = base64.b64encode(content).decode("ascii")
    else:
        try:
            text = part.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NotTextError(
                f"{request.path} is not UTF-8 at byte {error.start} of what was read; ask with "
                "encoding 'base64'."
            ) from None
    return ReadFileAnswer(
        path=request.path,
        content=text,
        encoding=encoding,
        size=meta.size,
        sha256=meta.sha256,
        total_lines=meta.total_lines,
        truncated=meta.truncated,
    )


def content_bytes(request: WriteFileRequest) -> bytes:
    """Return the bytes to write.

    Raises:
        InvalidRequestError: `content` is not base64 though `encoding` says so.
    """
    return bytes_of("content", request.content, request.encoding)


def bytes_of(field: str, text: str, encoding: str) -> bytes:
    """Return the bytes of a field.

    Raises:
        InvalidRequestError: It is not base64 though `encoding` says so.
    """
    return text.encode() if encoding == "utf-8" else _from_base64(field, text)


def described(process: Process) -> ProcessAnswer:
    """Describe a process as its worker knows it."""
    known = process.model_dump(include=_AS_IT_IS)
    return ProcessAnswer.model_validate(
        known
        | {
            "started_at": moment(process.started_ms),
            "ended_at": None if process.ended_ms is None else moment(process.ended_ms),
            "deadline_at": None if process.deadline_ms is None else moment(process.deadline_ms),
            "terminal": process.terminal and process.terminal.model_dump(),
            "log": process.log.model_dump(),
        }
    )


def stdin_fields(request: ExecuteRequest) -> dict[str, str | None]:
    """Return what a command reads on standard input, in the worker's words.

    Text goes as text, however it came: a worker of before `stdin_encoding` takes that too.

    Raises:
        InvalidRequestError: `stdin` is not base64 though `stdin_encoding` says so.
    """
    if request.stdin is None or request.stdin_encoding == "utf-8":
        return {"stdin": request.stdin}
    content = _from_base64("stdin", request.stdin)
    try:
        return {"stdin": content.decode()}
    except UnicodeDecodeError:
        return {"stdin": request.stdin, "stdin_encoding": "base64"}


def _from_base64(field: str, text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequestError(
            f"{field}: not valid base64; fix it, or send text with encoding 'utf-8'."
        ) from None


def _is_text(content: bytes) -> bool:
    if b"\0" in content:
        return False
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
