"""What workers may answer. Their words are hostile input: typed, bounded, and nothing else passes."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, TypeVar

from pydantic import Base64Bytes, BaseModel, ConfigDict, Field, ValidationError

from oneseek_sandbox.errors import (
    CommandError,
    InvalidRequestError,
    RequestTooLargeError,
    SandboxError,
    SandboxLostError,
    SandboxUnavailableError,
    WorkspaceError,
    error_for_code,
)
from oneseek_sandbox.workers.features import too_old

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Answer",
    "Cancelled",
    "Claimed",
    "Count",
    "Ended",
    "Entries",
    "Entry",
    "Exit",
    "Hash",
    "Health",
    "Kept",
    "Printed",
    "ReadMeta",
    "Reason",
    "Replaced",
    "Written",
    "error_from",
    "parse",
]

_MESSAGE_CHARACTERS: Final = 2000
_UNKNOWN_FIELD: Final = re.compile(r"Unknown field '(\w{1,40})'\.")
_DETAILS: Final = ("next_offset", "pending", "stdin_offset")
_FENCING_CODES: Final = {"restarted", "stale_generation", "bad_token", "unclaimed"}

Count = Annotated[int, Field(ge=0, le=2**62)]
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

# A word of ours, or one that only a newer worker knows: it says how a command ended, no more.
Reason = Annotated[str, Field(pattern=r"^[a-z][a-z_]{0,31}$")]

_Feature = Annotated[str, Field(pattern=r"^[a-z0-9_]{1,40}$")]

_MAX_ENDED: Final = 32
_MAX_FEATURES: Final = 128


class Answer(BaseModel):
    """The base of all: what a worker says beside is dropped."""

    # Unknown fields are dropped, not refused: a newer worker may say more.
    model_config = ConfigDict(frozen=True, extra="ignore", defer_build=True)


class Claimed(Answer):
    """The worker belongs to us now; `empty` says that nothing is in its workspace."""

    protocol: int
    boot_id: Annotated[str, Field(pattern=r"^[0-9a-f]{16,64}$")]
    # Workers of before do not say.
    empty: bool = False
    features: Annotated[list[_Feature], Field(max_length=_MAX_FEATURES)] = []


class Health(Answer):
    """The worker lives."""

    commands: Count
    processes: Count
    env_version: Count = 0  # workers of before do not say
    lasting: Count | None = None  # workers of before do not say


class Kept(Answer):
    """What was kept of one output stream: its first and last bytes, and how many there were."""

    head: Base64Bytes
    tail: Base64Bytes
    bytes: Count

    @property
    def is_whole(self) -> bool:
        """Whether nothing is missing between head and tail."""
        return self.bytes <= len(self.head) + len(self.tail)

    def within(self, limit: int) -> Kept:
        """Return at most `limit` bytes of it, from both ends."""
        if len(self.head) + len(self.tail) <= limit:
            return self
        last = limit // 2
        both = self.head + self.tail
        return self.model_copy(
            update={"head": both[: limit - last], "tail": both[len(both) - last :]}
        )


class Exit(Answer):
    """How a command ended."""

    exit_code: Annotated[int, Field(ge=-1, le=255)]
    timed_out: bool
    killed_by: Reason | None
    oom_kills: Count = 0
    duration_ms: Count
    background: bool
    ended: Annotated[
        dict[Annotated[str, Field(max_length=64)], Count], Field(max_length=_MAX_ENDED)
    ] = {}
    stdout: Kept
    stderr: Kept

    def within(self, limit: int) -> Exit:
        """Return it with at most `limit` bytes of each output."""
        kept = {"stdout": self.stdout.within(limit), "stderr": self.stderr.within(limit)}
        return self.model_copy(update=kept)


class Ended(Answer):
    """The last line of an execute's answer."""

    exit: Exit


class Printed(Answer):
    """A line of an execute's answer while the command runs."""

    stdout: Base64Bytes | None = None
    stderr: Base64Bytes | None = None


class Cancelled(Answer):
    """Whether a command was ended."""

    cancelled: bool


class Entry(Answer):
    """One name in a directory."""

    path: Annotated[str, Field(max_length=16_384)]
    type: Literal["file", "directory", "symlink", "other"]
    size: Count
    mode: Annotated[str, Field(pattern=r"^[0-7]{1,5}$")]
    mtime_ms: Annotated[int, Field(ge=-(2**52), le=2**52)]


class Entries(Answer):
    """A directory, or a part of it."""

    entries: Annotated[list[Entry], Field(max_length=10_000)]
    truncated: bool
    cursor: Annotated[str, Field(max_length=16_384)] | None


class ReadMeta(Answer):
    """What is said of a file beside its bytes."""

    size: Count
    sha256: Hash | None = None
    total_lines: Count | None = None
    truncated: bool


class Written(Answer):
    """A file after it was written."""

    size: Count
    sha256: Hash | None = None
    created: bool


class Replaced(Answer):
    """A file after text in it was replaced."""

    replacements: Count
    size: Count
    sha256: Hash


AnswerT = TypeVar("AnswerT", bound=Answer)


def parse(model: type[AnswerT], text: bytes | str) -> AnswerT:
    """Check an answer's JSON.

    Raises:
        SandboxUnavailableError: It is not what a worker answers.
    """
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise SandboxUnavailableError(
            f"The sandbox gave an answer that is not one of a worker ({where}: {first['type']}). "
            "Code inside may have tampered with it; release it and acquire again.",
            may_have_run=True,
        ) from None


def error_from(status: int, body: bytes) -> SandboxError:
    """Turn a worker's error into ours; codes it has no business with become `sandbox_unavailable`."""
    code, message, details = _told(body)
    if code in _FENCING_CODES:
        return SandboxLostError(
            f"The sandbox refused this call as not its own ({code}): it was taken over or "
            "restarted. Acquire again."
        )
    if code == InvalidRequestError.code and (unknown := _UNKNOWN_FIELD.fullmatch(message)):
        # Callers' own fields are checked before: this one came with a later version.
        return too_old(unknown[1])
    kind: Callable[[str], SandboxError] | None = error_for_code(code)
    if isinstance(kind, type) and issubclass(
        kind, (WorkspaceError, CommandError, InvalidRequestError, RequestTooLargeError)
    ):
        return kind(message).having(**details)
    return SandboxUnavailableError(
        f"The sandbox answered with an error that is not one of a worker (status {status})."
    )


def _told(body: bytes) -> tuple[str, str, dict[str, int]]:
    """Return code, message and details of an error."""
    try:
        error: Any = json.loads(body)["error"]
        code, message = str(error["code"]), str(error["message"])
        details = dict(error.get("details") or {})
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return "", "", {}
    printable = "".join(character if character.isprintable() else " " for character in message)
    figures = {
        name: details[name]
        for name in _DETAILS
        if type(details.get(name)) is int and details[name] >= 0
    }
    return code, printable[:_MESSAGE_CHARACTERS], figures
