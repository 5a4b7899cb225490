"""What the eight verbs are asked."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oneseek_sandbox.models.fields import (
    Encoding,
    EnvironmentName,
    Path,
    RequestId,
    SandboxId,
    Scope,
    Sha256,
    ThreadId,
)

__all__ = [
    "AcquireRequest",
    "CleanupIdleRequest",
    "ExecuteRequest",
    "LsRequest",
    "ReadFileRequest",
    "ReleaseRequest",
    "ReplaceRequest",
    "SandboxReference",
    "WriteFileRequest",
    "WriteFileTarget",
]


class _Model(BaseModel):
    # Built at first use: a function needs two of these models, not twenty.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class SandboxReference(_Model):
    """Names a sandbox: by `sandbox_id` (fenced), or by `thread_id` (the current one).

    Attributes:
        sandbox_id: 32 hexadecimal digits from an acquire.
        thread_id: 1 to 256 characters.
        scope: Tenant or user, 1 to 128 characters; left out, the key's only scope or `default`.
    """

    sandbox_id: SandboxId | None = None
    thread_id: ThreadId | None = None
    scope: Scope | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.sandbox_id is None) == (self.thread_id is None):
            raise ValueError("name the sandbox by sandbox_id or by thread_id, one of the two")
        if self.sandbox_id is not None and self.scope is not None:
            raise ValueError("scope goes with thread_id; a sandbox_id needs none")
        return self


class AcquireRequest(_Model):
    """Ask for the sandbox of a thread.

    Attributes:
        idle_timeout_seconds: 1 to 86400; on reuse it replaces the old one. Left out: the server's.
    """

    thread_id: ThreadId
    scope: Scope | None = None
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None


class ExecuteRequest(SandboxReference):
    """Run a command, or cancel one.

    Attributes:
        command: A shell command line, or a list of arguments that no shell sees.
        cwd: Absolute path in the workspace; left out, the workspace itself.
        env: Variables added to the sandbox's own.
        stdin: What the command reads on standard input; left out, that is empty and closed.
        stdin_encoding: Of `stdin`: `utf-8` for text, `base64` for any bytes.
        timeout_seconds: 0.1 upwards, to the server's maximum; default 30.
        max_output_bytes: Kept of stdout and of stderr each; head and tail stay. A stream brings so
            much as it is printed, then a `gap`, then the last 64 KiB.
        stream_all: A stream brings every byte, however many there are.
        request_id: Makes the call at-most-once; the command then outlives a dropped connection.
        cancel: The `request_id` of a running command to end, instead of `command`; `*` ends every
            process of the sandbox, also what earlier commands left running, and keeps the files.
        encoding: Of the output: `base64` gives stdout and stderr as exact bytes.
    """

    command: (
        Annotated[str, Field(min_length=1, max_length=1_048_576)]
        | Annotated[list[str], Field(min_length=1, max_length=4096)]
        | None
    ) = None
    cwd: Path | None = None
    env: Annotated[dict[EnvironmentName, str], Field(max_length=1024)] | None = None
    stdin: str | None = None
    stdin_encoding: Encoding = "utf-8"
    timeout_seconds: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 30.0
    max_output_bytes: Annotated[int, Field(ge=1)] | None = None
    stream_all: bool = False
    request_id: RequestId | None = None
    cancel: RequestId | None = None
    encoding: Encoding = "utf-8"

    @model_validator(mode="after")
    def _command_or_cancel(self) -> Self:
        if (self.command is None) == (self.cancel is None):
            raise ValueError("give command to run one, or cancel to end one")
        if self.request_id == "*":
            raise ValueError("request_id `*` stands for all commands; take another")
        return self


class LsRequest(SandboxReference):
    """List a directory.

    Attributes:
        path: Absolute; default the workspace.
        depth: 1 (the directory itself) to 32.
        limit: Entries in one answer, 1 to 10000.
        cursor: From the last answer when `truncated`.
    """

    path: Path = "/workspace"
    depth: Annotated[int, Field(ge=1, le=32)] = 1
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    cursor: Annotated[str, Field(min_length=1, max_length=16_384)] | None = None


class ReadFileRequest(SandboxReference):
    """Read a file, whole or in part.

    Attributes:
        start_line: First line wanted, 1-based. end_line: last line wanted, inclusive.
        offset: First byte wanted. limit: bytes wanted, or the most a line range may give.
        encoding: Left out, `utf-8` for text and `base64` for what is not UTF-8.
    """

    path: Path
    start_line: Annotated[int, Field(ge=1)] | None = None
    end_line: Annotated[int, Field(ge=1)] | None = None
    offset: Annotated[int, Field(ge=0)] | None = None
    limit: Annotated[int, Field(ge=1)] | None = None
    encoding: Encoding | None = None

    @model_validator(mode="after")
    def _lines_or_bytes(self) -> Self:
        lines = self.start_line is not None or self.end_line is not None
        if lines and self.offset is not None:
            raise ValueError("read by lines (start_line, end_line) or by bytes (offset), not both")
        if self.end_line is not None and self.end_line < (self.start_line or 1):
            raise ValueError("end_line must not be before start_line")
        return self


class WriteFileTarget(SandboxReference):
    """Which file to write and how: all of a write but its content, as it stands beside a stream.

    Attributes:
        append: Add to the end; two appends never interleave.
        create_only: Fail when the file is there.
        if_sha256: Fail unless the file now has this content.
        mode: Permission bits in octal, like `0755`; left out, the old file's or 0644.
        sync: Answer only when the file and its name are on the disk, so that it survives a power
            cut; some milliseconds slower.
    """

    path: Path
    append: bool = False
    create_only: bool = False
    if_sha256: Sha256 | None = None
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] | None = None
    sync: bool = False

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.create_only and (self.append or self.if_sha256 is not None):
            raise ValueError("create_only does not go with append or if_sha256")
        return self


class WriteFileRequest(WriteFileTarget):
    """Write a file: whole and atomically, or appended.

    Attributes:
        content: Text, or bytes in base64; may be empty.
        encoding: Of `content`.
    """

    content: str
    encoding: Encoding = "utf-8"


class ReplaceRequest(SandboxReference):
    """Replace exact text in a file.

    Attributes:
        old: Must occur exactly once unless `replace_all`.
    """

    path: Path
    old: Annotated[str, Field(min_length=1)]
    new: str
    replace_all: bool = False
    if_sha256: Sha256 | None = None


class ReleaseRequest(SandboxReference):
    """End a sandbox and everything in it."""


class CleanupIdleRequest(_Model):
    """Nothing is needed."""
