"""Requests and answers of the eight verbs, as they are on the wire.

Models are strict (no string becomes a number), frozen, and refuse unknown fields. Numbers above a
limit are refused, never clamped; limits that settings decide are checked by the provisioner.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "AcquireAnswer",
    "AcquireRequest",
    "CancelAnswer",
    "CleanupIdleAnswer",
    "CleanupIdleRequest",
    "DirectoryEntry",
    "ExecuteAnswer",
    "ExecuteRequest",
    "ListSandboxesAnswer",
    "ListedSandbox",
    "LsAnswer",
    "LsRequest",
    "ReadFileAnswer",
    "ReadFileRequest",
    "ReleaseAnswer",
    "ReleaseRequest",
    "ReplaceAnswer",
    "ReplaceRequest",
    "SandboxReference",
    "WriteFileAnswer",
    "WriteFileRequest",
]

DEFAULT_SCOPE = "default"


def _without_control_characters(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("must not contain control characters")
    return value


def _environment_name(value: str) -> str:
    if not value or "=" in value:
        raise ValueError("names of environment variables are not empty and have no '='")
    return value


ThreadId = Annotated[
    str, Field(min_length=1, max_length=256), AfterValidator(_without_control_characters)
]
Scope = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_without_control_characters)
]
SandboxId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
RequestId = Annotated[
    str, Field(min_length=1, max_length=128), AfterValidator(_without_control_characters)
]
Path = Annotated[str, Field(min_length=1, max_length=4096)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Encoding = Literal["utf-8", "base64"]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


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


class AcquireAnswer(_Answer):
    """The sandbox of a thread.

    Attributes:
        generation: Grows with every new sandbox of any thread.
        reused: The thread had this sandbox already: its files are there.
        warm: It was taken from a pool of started ones.
        restarted: Its processes were lost and its files kept since the last acquire.
        expires_at: When it ends if nothing more is done with it.
        workspace: The directory that paths are absolute in.
    """

    sandbox_id: str
    thread_id: str
    scope: str
    generation: int
    reused: bool
    warm: bool
    restarted: bool
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    workspace: str


class ExecuteRequest(SandboxReference):
    """Run a command, or cancel one.

    Attributes:
        command: A shell command line, or a list of arguments that no shell sees.
        cwd: Absolute path in the workspace; left out, the workspace itself.
        env: Variables added to the sandbox's own.
        stdin: Text for standard input; left out, standard input is empty and closed.
        timeout_seconds: 0.1 upwards, to the server's maximum; default 30.
        max_output_bytes: Kept of stdout and of stderr each; head and tail stay.
        request_id: Makes the call at-most-once; the command then outlives a dropped connection.
        cancel: The `request_id` of a running command to end, instead of `command`.
        encoding: `base64` gives stdout and stderr as exact bytes.
    """

    command: (
        Annotated[str, Field(min_length=1, max_length=1_048_576)]
        | Annotated[list[str], Field(min_length=1, max_length=4096)]
        | None
    ) = None
    cwd: Path | None = None
    env: (
        Annotated[
            dict[Annotated[str, AfterValidator(_environment_name)], str], Field(max_length=1024)
        ]
        | None
    ) = None
    stdin: str | None = None
    timeout_seconds: Annotated[float, Field(ge=0.1, allow_inf_nan=False)] = 30.0
    max_output_bytes: Annotated[int, Field(ge=1)] | None = None
    request_id: RequestId | None = None
    cancel: RequestId | None = None
    encoding: Encoding = "utf-8"

    @model_validator(mode="after")
    def _command_or_cancel(self) -> Self:
        if (self.command is None) == (self.cancel is None):
            raise ValueError("give command to run one, or cancel to end one")
        return self


class ExecuteAnswer(_Answer):
    r"""How a command ended.

    Attributes:
        exit_code: The shell's; 128 + n when signal n ended it, 124 when time ran out.
        timed_out: It was ended because its time was over; output until then is here.
        killed_by: None, or why it was ended from outside: `timeout`, `cancelled`,
            `out_of_memory`, `monitor_killed`.
        stdout_truncated: The middle was left out; `stdout_bytes` counts all that was printed.
        invalid_utf8: Some bytes were not UTF-8 and stand as `\\xNN`; ask with encoding `base64`
            for exact bytes.
        background: Processes it started are still running, until the sandbox is released.
        hint: What may have gone wrong and what to do, when this service can tell.
    """

    exit_code: int
    stdout: str
    stderr: str
    encoding: Encoding = "utf-8"
    timed_out: bool
    killed_by: Literal["timeout", "cancelled", "out_of_memory", "monitor_killed"] | None
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    invalid_utf8: bool
    duration_ms: int
    background: bool
    hint: str | None = None


class CancelAnswer(_Answer):
    """Whether a running command was ended; false when it had ended by itself."""

    cancelled: bool


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


class DirectoryEntry(_Answer):
    r"""One name in a directory.

    Attributes:
        path: Absolute. Bytes that are not UTF-8 stand as lone surrogates' escape `\xNN`.
        mode: Permission bits in octal, like `0644`.
        size: Bytes.
    """

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: str
    modified_at: datetime


class LsAnswer(_Answer):
    """Entries sorted by path, parents before children."""

    entries: list[DirectoryEntry]
    truncated: bool
    cursor: str | None


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


class ReadFileAnswer(_Answer):
    """What is in a file.

    Attributes:
        size: Bytes of the whole file.
        sha256: Of the whole file.
        total_lines: Of the whole file; a last line without newline counts.
        truncated: There is more in the range that was asked for than `content` holds.
    """

    path: str
    content: str
    encoding: Encoding
    size: int
    sha256: str
    total_lines: int
    truncated: bool


class WriteFileRequest(SandboxReference):
    """Write a file: whole and atomically, or appended.

    Attributes:
        append: Add to the end; two appends never interleave.
        create_only: Fail when the file is there.
        if_sha256: Fail unless the file now has this content.
        mode: Permission bits in octal, like `0755`; left out, the old file's or 0644.
    """

    path: Path
    content: str = ""
    encoding: Encoding = "utf-8"
    append: bool = False
    create_only: bool = False
    if_sha256: Sha256 | None = None
    mode: Annotated[str, Field(pattern=r"^0?[0-7]{3}$")] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.create_only and (self.append or self.if_sha256 is not None):
            raise ValueError("create_only does not go with append or if_sha256")
        return self


class WriteFileAnswer(_Answer):
    """The file as it is now."""

    path: str
    size: int
    sha256: str
    created: bool


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


class ReplaceAnswer(_Answer):
    """How often the text was replaced, and the file's new hash."""

    path: str
    replacements: int
    sha256: str


class ReleaseRequest(SandboxReference):
    """End a sandbox and everything in it."""


class ReleaseAnswer(_Answer):
    """Whether this call ended it, or an earlier one had."""

    released: bool
    already_released: bool


class CleanupIdleRequest(_Model):
    """Nothing is needed."""


class CleanupIdleAnswer(_Answer):
    """What a cleanup did.

    Attributes:
        expired: Sandboxes that had been idle for too long.
        adopted: Running sandboxes that had no lease and have one now.
        lost: Leases whose sandbox had ended by itself.
        orphans: Sandboxes that no lease wanted.
    """

    expired: int
    adopted: int
    lost: int
    orphans: int


class ListedSandbox(_Answer):
    """One live sandbox, for operators."""

    sandbox_id: str
    thread_id: str
    scope: str
    generation: int
    state: Literal["creating", "ready", "suspect"]
    running: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime


class ListSandboxesAnswer(_Answer):
    """Live sandboxes, in no order."""

    sandboxes: list[ListedSandbox]
    verbs: list[str] = []


def field_names(model: type[BaseModel]) -> list[str]:
    """Return the names a request may use, for error texts."""
    return list(model.model_fields)


JsonObject = dict[str, Any]
