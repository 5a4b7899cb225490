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

__all__ = ["Printed", "ReadLog", "last_line", "read_printed"]

_LARGEST_PART: Final = 262_144
_LINE_BYTES: Final = 16_384


class ReadLog(Protocol):
    """Reads the log of one process once, without waiting."""

    async def __call__(self, *, offset: int, max_bytes: int) -> AttachAnswer:
        """Return output from a position on, in base64."""


@dataclass(slots=True)
class _Kept:
    """Of one stream: what comes before the first gap, what comes after the last, and how much it is."""

    head: bytearray = field(default_factory=bytearray)
    tail: bytearray = field(default_factory=bytearray)
    total: int = 0
    is_cut: bool = False

    def add(self, data: bytes) -> None:
        (self.tail if self.is_cut else self.head).extend(data)
        self.total += len(data)

    def skip(self, count: int) -> None:
        self.tail.clear()
        self.is_cut = True
        self.total += count


@dataclass(frozen=True, slots=True)
class Printed:
    """What was printed since a position, and the process after it.

    Attributes:
        stdout_bytes: How much it was, with what is left out of `stdout`.
        next_offset: The position after it.
    """

    stdout: str
    stderr: str
    stdout_truncated: bool
    stderr_truncated: bool
    stdout_bytes: int
    stderr_bytes: int
    invalid_utf8: bool
    next_offset: int
    process: ProcessAnswer


async def read_printed(read: ReadLog, start: int, most: int) -> Printed:
    """Read what a process has printed until now.

    Args:
        start: Position of the first byte.
        most: How many bytes of the beginning and of the end are wanted; what is between them is
            not even read.
    """
    kept: dict[StreamName, _Kept] = {"stdout": _Kept(), "stderr": _Kept()}
    answer = await read(offset=start, max_bytes=min(most, _LARGEST_PART))
    # Until now: a process may print faster than anybody reads.
    end = max(answer.next_offset, answer.process.log.next_offset if answer.process.log else 0)
    jump = 0
    while True:
        _take(kept, answer, jump)
        jump, position = 0, answer.next_offset
        if answer.process.state != "running" and answer.process.log is not None:
            end = answer.process.log.next_offset
        if position >= end or not answer.events:
            break
        if position - start >= most and end - position > most:
            jump = end - most - position
            position += jump
        answer = await read(offset=position, max_bytes=min(end - position, _LARGEST_PART))
    return _printed(kept, answer, _half_character(kept, answer))


def _take(kept: dict[StreamName, _Kept], answer: AttachAnswer, skipped: int) -> None:
    """Add what an answer brings; which stream a gap is of is not known, so it is the next one's."""
    for event in answer.events:
        if isinstance(event, GapEvent):
            skipped += event.end - event.start
            continue
        if skipped:
            kept[event.type].skip(skipped)
            skipped = 0
        kept[event.type].add(base64.b64decode(event.text))
    if skipped:
        kept["stdout"].skip(skipped)


def _half_character(kept: dict[StreamName, _Kept], last: AttachAnswer) -> int:
    """Cut half a character at the end, of which the rest is to come; returns its bytes."""
    event = last.events[-1] if last.events else None
    if event is None or isinstance(event, GapEvent) or last.process.state != "running":
        return 0
    stream = kept[event.type]
    data = stream.tail if stream.is_cut else stream.head
    half = len(data) - len(without_partial_end(bytes(data[-4:]))) - len(data[:-4])
    del data[len(data) - half :]
    stream.total -= half
    return half


def _printed(kept: dict[StreamName, _Kept], last: AttachAnswer, half: int) -> Printed:
    out, err = kept["stdout"], kept["stderr"]
    stdout, shown_out = _text(out)
    stderr, shown_err = _text(err)
    return Printed(
        stdout=stdout,
        stderr=stderr,
        stdout_truncated=out.is_cut,
        stderr_truncated=err.is_cut,
        stdout_bytes=out.total,
        stderr_bytes=err.total,
        invalid_utf8=shown_out or shown_err,
        next_offset=last.next_offset - half,
        process=last.process,
    )


def _text(kept: _Kept) -> tuple[str, bool]:
    data = joined(bytes(kept.head), bytes(kept.tail), kept.total)
    return to_text(data if kept.head else data.lstrip(b"\n"), encoding="utf-8")


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
