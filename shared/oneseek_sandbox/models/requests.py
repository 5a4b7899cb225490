"""What the eight verbs are asked."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from oneseek_sandbox.models.fields import (
    Encoding,
    Environment,
    EnvironmentName,
    Labels,
    Path,
    RequestId,
    SandboxId,
    Scope,
    Sha256,
    Terminal,
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
    "SandboxesQuery",
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
        scope: Tenant or user, 1 to 128 characters. Default: the key's only scope, or `default`.
    """

    sandbox_id: SandboxId | None = None
    thread_id: ThreadId | None = None
    scope: Scope | None = None

    @model_validator(mode="after")
    def _one_name(self) -> Self:
        if (self.sandbox_id is None) == (self.thread_id is None):
            raise ValueError("name the sandbox by sandbox_id or by thread_id, one of the two")
        if self.sandbox_id is not None and self.scope is not None:
            raise ValueError("scope can only be used with thread_id, not with sandbox_id")
        return self


class AcquireRequest(_Model):
    """Get the sandbox of a thread.

    Attributes:
        idle_timeout_seconds: 1 to 86400; replaces the previous value on reuse. Default: the
            server's setting.
        labels: Up to 16 labels for the list of sandboxes: keys of 1 to 63 bytes without `=`, values
            of up to 256 bytes. They replace all previous ones; if left out, those stay.
        env: Environment variables of every command that is started from now on, up to 64 KiB of
            names and values; those of `execute` take precedence. They replace all previous ones;
            if left out, those stay.
    """

    thread_id: ThreadId
    scope: Scope | None = None
    idle_timeout_seconds: Annotated[int, Field(ge=1, le=86_400)] | None = None
    labels: Labels | None = None
    env: Annotated[Environment | None, Field(repr=False)] = None


class ExecuteRequest(SandboxReference):
    """Run a command, or cancel one.

    Attributes:
        command: A shell command line, or a list of arguments to run without a shell.
        cwd: Working directory, an absolute path in the workspace, or with PROVISIONER_FILE_SCOPE
            `sandbox` anywhere. Default: the workspace.
        env: Environment variables, added to the sandbox's own.
        stdin: The command's standard input. Default: empty.
        stdin_encoding: Encoding of `stdin`: `utf-8` for text, `base64` for binary.
        stdin_path: Instead of `stdin`: a file in the workspace that the command reads, of any size.
        stdin_open: Instead of `stdin`: standard input stays open for `input`; needs `background`.
        background: Answer as soon as the program runs, and find it by its `request_id`.
        terminal: Gives the process a terminal: its size, and its kind for TERM. Implies `background`
            and `stdin_open`.
        timeout_seconds: From 0.1 to the server's maximum. Default: 30; in the background none.
        max_output_bytes: Limit for stdout and for stderr each; head and tail are kept. A stream is
            live up to this limit, followed by a `gap` and the last 64 KiB.
        overflow: With more output than that, `keep_ends` keeps head and tail, and `error` fails with
            `output_too_large` once the command has ended.
        stream_all: Stream all output, whatever its size.
        request_id: Runs the command at most once; it then survives a dropped connection.
        cancel: Instead of `command`: the `request_id` of a running command to kill. `*` kills every
            process of the sandbox, including background processes, and keeps the files.
        encoding: Encoding of the output: `base64` returns stdout and stderr as exact bytes.
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
    stdin_path: Path | None = None
    stdin_open: bool = False
    background: bool = False
    terminal: Terminal | None = None
    timeout_seconds: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 30.0
    max_output_bytes: Annotated[int, Field(ge=1)] | None = None
    overflow: Literal["keep_ends", "error"] = "keep_ends"
    stream_all: bool = False
    request_id: RequestId | None = None
    cancel: RequestId | None = None
    encoding: Encoding = "utf-8"

    @model_validator(mode="before")
    @classmethod
    def _of_a_terminal(cls, data: object) -> object:
        if not isinstance(data, dict) or data.get("terminal") is None:
            return data
        if data.get("stdin") is not None or data.get("stdin_path") is not None:
            raise ValueError("stdin and stdin_path do not go with terminal: type it by input")
        return {"background": True, "stdin_open": True, **data}

    @model_validator(mode="after")
    def _command_or_cancel(self) -> Self:
        if (self.command is None) == (self.cancel is None):
            raise ValueError("give either command or cancel")
        if self.terminal is not None and not (self.background and self.stdin_open):
            raise ValueError("terminal implies background and stdin_open: leave them out")
        inputs = (self.stdin is not None, self.stdin_path is not None, self.stdin_open)
        if sum(inputs) > 1:
            raise ValueError("give one of stdin, stdin_path and stdin_open")
        if self.stdin_open and not self.background:
            raise ValueError("stdin_open needs background")
        if self.background and self.cancel is not None:
            raise ValueError("background is for a command")
        if self.request_id == "*":
            raise ValueError("request_id `*` is reserved for all commands; use another")
        return self

    @property
    def limit_seconds(self) -> float | None:
        """The time limit; None for none."""
        if self.background and "timeout_seconds" not in self.model_fields_set:
            return None
        return self.timeout_seconds


class LsRequest(SandboxReference):
    """List a directory.

    Attributes:
        path: Absolute; where, PROVISIONER_FILE_SCOPE says. Default: the workspace.
        depth: 1 (the directory itself) to 32.
        limit: Entries per response, 1 to 10000.
        cursor: From the previous response, if it was `truncated`.
    """

    path: Path = "/workspace"
    depth: Annotated[int, Field(ge=1, le=32)] = 1
    limit: Annotated[int, Field(ge=1, le=10_000)] = 1000
    cursor: Annotated[str, Field(min_length=1, max_length=16_384)] | None = None


class ReadFileRequest(SandboxReference):
    """Read all or part of a file.

    Attributes:
        start_line: First line, 1-based. end_line: last line, inclusive.
        offset: First byte, 0-based. limit: number of bytes, or the maximum for a range of lines.
        encoding: Default: `utf-8` for text, and `base64` for other content.
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
    """Which file to write and how: all fields of a write except its content.

    Attributes:
        append: Add to the end; two appends never interleave.
        create_only: Fail if the file exists.
        if_sha256: Fail unless the current content has this hash.
        mode: Permission bits in octal, like `0755`. Default: those of the old file, or 0644.
        sync: Respond only after the file and its name are on disk, so that it survives a power
            cut; a few milliseconds slower.
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
            raise ValueError("create_only cannot be combined with append or if_sha256")
        return self


class WriteFileRequest(WriteFileTarget):
    """Write a file: replace it atomically, or append to it.

    Attributes:
        content: Text, or binary content in base64; may be empty.
        encoding: Encoding of `content`.
    """

    content: str
    encoding: Encoding = "utf-8"


class ReplaceRequest(SandboxReference):
    """Replace exact text in a file.

    Attributes:
        old: Must occur exactly once, unless `replace_all` is set.
    """

    path: Path
    old: Annotated[str, Field(min_length=1)]
    new: str
    replace_all: bool = False
    if_sha256: Sha256 | None = None


class ReleaseRequest(SandboxReference):
    """End a sandbox and everything in it."""


class SandboxesQuery(_Model):
    """List the live sandboxes that the key reaches.

    Attributes:
        label: Only sandboxes that carry all of these labels, with these values.
    """

    label: Labels = {}


class CleanupIdleRequest(_Model):
    """End expired sandboxes; no fields are needed."""
