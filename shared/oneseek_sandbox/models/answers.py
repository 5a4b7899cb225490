"""What the eight verbs answer."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, model_serializer

from oneseek_sandbox.models.fields import Encoding

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

__all__ = [
    "AcquireAnswer",
    "Answer",
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


class Answer(BaseModel):
    """The base of all."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


class _Brief(Answer):
    """An answer of which some fields are there only if they say something.

    Clients of before refuse a field that they do not know; they cause none of these.
    """

    _SAYS_SOMETHING: ClassVar[frozenset[str]]

    @model_serializer(mode="wrap")
    def _briefly(self, serialize: SerializerFunctionWrapHandler) -> dict[str, object]:
        values: dict[str, object] = serialize(self)
        return {n: v for n, v in values.items() if v or n not in self._SAYS_SOMETHING}

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        described: Any = {name: part for name, part in schema.items() if name != "serialization"}
        return handler(described)


class AcquireAnswer(_Brief):
    """The sandbox of a thread.

    Attributes:
        generation: Grows with every new sandbox of any thread.
        reused: The thread already had this sandbox: its files are there.
        warm: It was taken from the warm pool.
        restarted: Since the last acquire its processes were lost; its files were kept.
        expires_at: When it ends without further activity.
        workspace: The absolute path of the directory for files.
        env_lost: Commands may run without the `env` of earlier acquires, because the store was
            emptied: give it again. Only there if true.
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
    env_lost: bool = False

    _SAYS_SOMETHING = frozenset({"env_lost"})


class ExecuteAnswer(Answer):
    r"""How a command ended.

    Attributes:
        exit_code: The shell's; 128 + n after signal n, 124 after a timeout.
        timed_out: The command timed out and was killed; the output has what it printed until then.
        killed_by: None, or why it was killed: `timeout`, `cancelled`,
            `out_of_memory`, `monitor_killed`, `process_limit`, `disk_limit`; later versions may
            have more.
        oom_kills: How many processes the kernel killed in this sandbox for lack of memory while the
            command ran, even if a pipeline exits with 0. 0 where the count is not available.
        stdout_truncated: The middle was omitted; `stdout_bytes` is the full size. In text a line
            marks the gap; in base64 the tail directly follows the head.
        invalid_utf8: Bytes that are not valid UTF-8 are shown as `\\xNN`; use encoding `base64` for
            exact bytes.
        background: Processes that it started are still running.
        ended_background: Background processes of earlier commands that were killed because the
            sandbox had reached its process limit: the number by name.
        hint: What may have gone wrong and what to do, if known.
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


class CancelAnswer(Answer):
    """Whether a running command was killed; false if it had already ended.

    After `*`: whether there was any process to kill.
    """

    cancelled: bool


class DirectoryEntry(Answer):
    """One name in a directory.

    Attributes:
        path: Absolute. One that is not valid UTF-8 is `base64:` followed by its bytes in base64;
            every verb accepts that form.
        mode: Permission bits in octal, like `0644`.
        size: Bytes.
    """

    path: str
    type: Literal["file", "directory", "symlink", "other"]
    size: int
    mode: str
    modified_at: datetime


class LsAnswer(Answer):
    """Entries sorted by path, parents before children."""

    entries: list[DirectoryEntry]
    truncated: bool
    cursor: str | None


class ReadFileAnswer(Answer):
    """The content of a file.

    Attributes:
        size: Bytes of the whole file.
        sha256: Of the whole file; null for files over 64 MiB.
        total_lines: Of the whole file; a last line without newline counts. Null like `sha256`.
        truncated: The requested range has more than `content` contains.
    """

    path: str
    content: str
    encoding: Encoding
    size: int
    sha256: str | None
    total_lines: int | None
    truncated: bool


class WriteFileAnswer(Answer):
    """The file as it is now.

    Attributes:
        sha256: Of the whole file; null after an append to a file that is then over 64 MiB.
    """

    path: str
    size: int
    sha256: str | None
    created: bool


class ReplaceAnswer(Answer):
    """How often the text was replaced, and the file's new hash."""

    path: str
    replacements: int
    sha256: str


class ReleaseAnswer(Answer):
    """Whether this call released the sandbox, or an earlier one had."""

    released: bool
    already_released: bool


class CleanupIdleAnswer(Answer):
    """What a cleanup did.

    Attributes:
        expired: Sandboxes that reached their idle timeout or maximum lifetime.
        adopted: Running sandboxes without a lease that were given one.
        lost: Leases whose sandbox had ended unexpectedly.
        orphans: Sandboxes that belonged to no lease.
    """

    expired: int
    adopted: int
    lost: int
    orphans: int


class ListedSandbox(_Brief):
    """One live sandbox.

    Attributes:
        labels: As acquires gave them. Only there if there are some.
    """

    sandbox_id: str
    thread_id: str
    scope: str
    generation: int
    state: Literal["creating", "ready", "suspect"]
    running: int
    created_at: datetime
    last_used_at: datetime
    expires_at: datetime
    labels: dict[str, str] = {}

    _SAYS_SOMETHING = frozenset({"labels"})


class ListSandboxesAnswer(Answer):
    """Live sandboxes, in no order.

    Attributes:
        damaged: For operators: folders on the server's machine with the files of sandboxes whose records are
            damaged, for example by a power cut; nothing deletes them.
    """

    sandboxes: list[ListedSandbox]
    damaged: list[str] = []
