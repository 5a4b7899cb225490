"""What a process has printed from a position on, read from its log: head and tail of each stream."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from oneseek_sandbox.models import GapEvent
from oneseek_sandbox.output import joined, to_text, without_partial_end

if TYPE_CHECKING:
    from oneseek_sandbox.models import AttachAnswer, ProcessAnswer
    from oneseek_sandbox.output import StreamName

    _Part = tuple[StreamName, bytearray]

__all__ = ["Printed", "ReadLog", "last_line", "read_printed"]

_LARGEST_PART: Final = 262_144
_LINE_BYTES: Final = 16_384
# The line in each stream that says that something was left out there.
_REMARK_BYTES: Final = len(joined(b"", b"", None))


class ReadLog(Protocol):
    """Reads the log of one process once, without waiting."""

    async def __call__(self, *, offset: int, max_bytes: int) -> AttachAnswer:
        """Return output from a position on, in base64."""


@dataclass(slots=True)
class _Kept:
    """What comes before the first gap, and what comes after the last, in the order of the log."""

    head: list[_Part] = field(default_factory=list)
    tail: list[_Part] = field(default_factory=list)
    is_cut: bool = False

    @property
    def end(self) -> list[_Part]:
        """Where the log goes on."""
        return self.tail if self.is_cut else self.head

    def add(self, name: StreamName, data: bytes) -> None:
        if self.end and self.end[-1][0] == name:
            self.end[-1][1].extend(data)
        else:
            self.end.append((name, bytearray(data)))

    def skip(self) -> None:
        self.tail.clear()
        self.is_cut = True

    def bound(self, share: int) -> None:
        """Keep at most so much of the beginning and of the end."""
        if not self.is_cut:
            if _size(self.head) <= 2 * share:
                return
            self.tail, self.is_cut = self.head, True
        self.head, self.tail = _first(self.head, share), _last(self.tail, share)

    def of(self, name: StreamName) -> tuple[bytes, bytes]:
        """Return the head and the tail of one stream."""
        head, tail = (
            b"".join(data for stream, data in parts if stream == name)
            for parts in (self.head, self.tail)
        )
        return head, tail


@dataclass(frozen=True, slots=True)
class Printed:
    """What was printed since a position, and the process after it.

    Attributes:
        stdout_bytes: How much it was, without what was left out.
        left_out_bytes: How much of both together was left out; of which is not known.
        next_offset: The position after it.
    """

    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    left_out_bytes: int
    invalid_utf8: bool
    next_offset: int
    process: ProcessAnswer


async def read_printed(read: ReadLog, start: int, most: int) -> Printed:
    """Read what a process has printed until now.

    Args:
        start: Position of the first byte.
        most: How many bytes are wanted of both streams together, half of them from the beginning
            and half from the end; what is between them is mostly not even read.
    """
    share = (most - 2 * _REMARK_BYTES) // 2
    kept = _Kept()
    answer = await read(offset=start, max_bytes=min(share, _LARGEST_PART))
    # Until now: a process may print faster than anybody reads.
    end = max(answer.next_offset, answer.process.log.next_offset if answer.process.log else 0)
    while True:
        _take(kept, answer)
        position = answer.next_offset
        if answer.process.state != "running" and answer.process.log is not None:
            end = answer.process.log.next_offset
        if position >= end or not answer.events:
            break
        if position - start >= share and end - position > share:
            kept.skip()
            position = end - share
        answer = await read(offset=position, max_bytes=min(end - position, _LARGEST_PART))
    after = answer.next_offset - _cut_half_character(kept, answer)
    kept.bound(share)
    return _printed(kept, answer.process, start, after)


def _take(kept: _Kept, answer: AttachAnswer) -> None:
    for event in answer.events:
        if isinstance(event, GapEvent):
            kept.skip()
        else:
            kept.add(event.type, base64.b64decode(event.text))


def _cut_half_character(kept: _Kept, last: AttachAnswer) -> int:
    """Cut half a character at the end, of which the rest is to come; returns its bytes."""
    if not kept.end or last.process.state != "running":
        return 0
    data = kept.end[-1][1]
    half = len(data[-4:]) - len(without_partial_end(bytes(data[-4:])))
    del data[len(data) - half :]
    return half


def _printed(kept: _Kept, process: ProcessAnswer, start: int, after: int) -> Printed:
    # The log does not say of which stream a gap is, so it is booked to neither.
    left_out = after - start - _size(kept.head) - _size(kept.tail)
    out, err = kept.of("stdout"), kept.of("stderr")
    stdout, shown_out = _text(*out, is_cut=left_out > 0)
    stderr, shown_err = _text(*err, is_cut=left_out > 0)
    return Printed(
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=left_out > 0,
        stderr_truncated=left_out > 0,
        stdout_bytes=sum(map(len, out)),
        stderr_bytes=sum(map(len, err)),
        left_out_bytes=left_out,
        invalid_utf8=shown_out or shown_err,
        next_offset=after,
        process=process,
    )


def _text(head: bytes, tail: bytes, *, is_cut: bool) -> tuple[str, bool]:
    if not is_cut or not (head or tail):
        return to_text(head + tail, encoding="utf-8")
    data = joined(head, tail, None)
    return to_text(data if head else data.lstrip(b"\n"), encoding="utf-8")


def _first(parts: list[_Part], count: int) -> list[_Part]:
    kept = []
    for name, data in parts:
        if count > 0:
            kept.append((name, data[:count]))
            count -= len(data)
    return kept


def _last(parts: list[_Part], count: int) -> list[_Part]:
    kept = []
    for name, data in reversed(parts):
        if count > 0:
            kept.append((name, data[-count:]))
            count -= len(data)
    return kept[::-1]


def _size(parts: list[_Part]) -> int:
    return sum(len(data) for _, data in parts)


async def last_line(read: ReadLog, position: int) -> tuple[str, int]:
    """Return the last line that was printed after a position, and the position after it.

    The line is empty when nothing was. It may be hostile, and is cut at its beginning when long.
    """
    answer = await read(offset=position, max_bytes=_LINE_BYTES)
    end = answer.process.log.next_offset if answer.process.log else answer.next_offset
    if answer.next_offset < end:
        answer = await read(offset=max(position, end - _LINE_BYTES), max_bytes=_LINE_BYTES)
    texts = [event.text for event in answer.events if not isinstance(event, GapEvent)]
    text = b"".join(map(base64.b64decode, texts)).decode("utf-8", "replace")
    # Bars of progress write over themselves with a carriage return.
    lines = text.replace("\r", "\n").split("\n")
    return next((line for line in reversed(lines) if line.strip()), ""), answer.next_offset
