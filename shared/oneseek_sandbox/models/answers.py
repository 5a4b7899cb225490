"""What the eight verbs answer."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from oneseek_sandbox.models.fields import Encoding

__all__ = [
    "AcquireAnswer",
    "CancelAnswer",
    "CleanupIdleAnswer",
    "DirectoryEntry",
    "ExecuteAnswer",
    "ListSandboxesAnswer",
    "ListedSandbox",
    "LsAnswer",
    "ReadFileAnswer",
    "ReleaseAnswer",
    "ReplaceAnswer",
    "WriteFileAnswer",
]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class AcquireAnswer(_Answer):
    """The sandbox of a thread.

    Attributes:
        generation: Grows with every new sandbox of any thread.
        reused: The thread had this sandbox already: its files are there.
        warm: It was taken from a pool of started ones.
        restarted: Since the last acquire its processes were lost; its files were kept.
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


class ExecuteAnswer(_Answer):
    r"""How a command ended.

    Attributes:
        exit_code: The shell's; 128 + n when signal n ended it, 124 when time ran out.
        timed_out: The command timed out and was killed; the output has what it printed until then.
        killed_by: None, or why it was ended from outside: `timeout`, `cancelled`,
            `out_of_memory`, `monitor_killed`, `process_limit`, `disk_limit`; later versions may
            have more.
        oom_kills: How many processes the kernel killed in this sandbox while the command ran, since
            its memory limit was reached: also in the middle of a pipeline that exits with 0. 0 where
            the kernel's count cannot be seen.
        stdout_truncated: The middle was left out; `stdout_bytes` counts all that was printed. In
            text a line stands in the gap; in base64 the tail follows the head at once.
        invalid_utf8: Some bytes were not UTF-8 and stand as `\\xNN`; ask with encoding `base64`
            for exact bytes.
        background: Processes it started are still running, until the sandbox is released.
        ended_background: Processes that earlier commands had left running and that were ended,
            since the sandbox had reached its process limit: how many of each name.
        hint: What may have gone wrong and what to do, when this service can tell.
    """

    exit_code: int
    stdout: str
    stderr: str
    encoding: Encoding = "utf-8"
    timed_out: bool
    killed_by: str | None
    oom_kills: int = 0
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    invalid_utf8: bool
    duration_ms: int
    background: bool
    ended_background: dict[str, int] = {}
    hint: str | None = None


class CancelAnswer(_Answer):
    """Whether a running command was ended; false when it had ended by itself.

    After `*`: whether there was any process to end.
    """

    cancelled: bool


class DirectoryEntry(_Answer):
    """One name in a directory.

    Attributes:
        path: Absolute. One that is not UTF-8 stands as `base64:` and its bytes in base64; every
            verb takes it like that.
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


class ReadFileAnswer(_Answer):
    """What is in a file.

    Attributes:
        size: Bytes of the whole file.
        sha256: Of the whole file; null when it has more than 64 MiB.
        total_lines: Of the whole file; a last line without newline counts. Null as `sha256`.
        truncated: There is more in the range that was asked for than `content` holds.
    """

    path: str
    content: str
    encoding: Encoding
    size: int
    sha256: str | None
    total_lines: int | None
    truncated: bool


class WriteFileAnswer(_Answer):
    """The file as it is now.

    Attributes:
        sha256: Of the whole file; null after an append to one that has more than 64 MiB now.
    """

    path: str
    size: int
    sha256: str | None
    created: bool


class ReplaceAnswer(_Answer):
    """How often the text was replaced, and the file's new hash."""

    path: str
    replacements: int
    sha256: str


class ReleaseAnswer(_Answer):
    """Whether this call ended it, or an earlier one had."""

    released: bool
    already_released: bool


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
    """Live sandboxes, in no order.

    Attributes:
        damaged: Folders on the server's machine with the files of sandboxes whose records cannot be
            understood, as a power cut may leave them; nothing deletes them.
    """

    sandboxes: list[ListedSandbox]
    damaged: list[str] = []
