"""What comes piece by piece: the output of a command, and the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = [
    "BlockingDownload",
    "Download",
    "Ended",
    "Event",
    "Gap",
    "Output",
]


@dataclass(frozen=True, slots=True)
class Output:
    """Some output of a running command, as it was printed, in the encoding that was asked for."""

    stream: Literal["stdout", "stderr"]
    text: str


@dataclass(frozen=True, slots=True)
class Gap:
    """Bytes of a stream that are missing here; what follows is the end of the output."""

    stream: Literal["stdout", "stderr"]
    bytes: int


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: the answer of an `execute`, as JSON has it."""

    answer: dict[str, Any]


Event: TypeAlias = Output | Gap | Ended


@dataclass(frozen=True, slots=True)
class Download:
    """A file being read.

    Attributes:
        size: Bytes of the whole file.
        sha256: Of the whole file; None when it has more than 64 MiB.
        total_lines: Of the whole file; None as `sha256`.
        truncated: There is more in the range that was asked for than the chunks hold.
        chunks: The bytes, as they come.
    """

    size: int
    sha256: str | None
    total_lines: int | None
    truncated: bool
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class BlockingDownload:
    """A file being read: as `Download`, with chunks that are waited for."""

    size: int
    sha256: str | None
    total_lines: int | None
    truncated: bool
    chunks: Iterator[bytes]
