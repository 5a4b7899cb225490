"""What a managed process printed, in order: its beginning and its end, read from any position."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.spool import LOW_MEMORY_BYTES, Store

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.guest.worker.spool import Spools

__all__ = ["LOG_HEAD_BYTES", "MAX_RUNS", "ProcessLog"]

MAX_RUNS = 500  # of one stream each, in one answer
LOG_HEAD_BYTES = 64 * 1024


class ProcessLog:
    """One ordered log; a position counts the bytes of both streams from the first one on.

    The first LOG_HEAD_BYTES stay, and of what follows the last `ring` bytes. Which stream a byte is
    of stands at the same place of a second store, which is there only once stderr was used.
    """

    __slots__ = ("_data", "_first", "_head_end", "_marks", "_ring", "_ring_from", "_spools", "end")

    def __init__(self, spools: Spools, ring: int) -> None:
        self._spools = spools
        self._ring = ring
        self._head_end = self._ring_from = LOG_HEAD_BYTES
        self._first = 0  # nothing before it is kept
        self._data = Store(spools)
        self._marks: Store | None = None
        self.end = 0

    @property
    def first(self) -> int:
        """The position of the first byte that is kept; the end when none is."""
        return self._first if self._first < self._head_end else self._ring_begin

    @property
    def size(self) -> int:
        """How many bytes are kept at most."""
        return min(self.end - self._first, self._head_end + self._ring)

    @property
    def _ring_begin(self) -> int:
        return min(self.end, max(self._ring_from, self._first, self.end - self._ring))

    def feed(self, name: str, data: bytes) -> None:
        """Take the next bytes of a stream; where the disk is full, forget what was before."""
        if name == "stderr" and self._marks is None:
            self._marks = Store(self._spools)
        try:
            self._write(data, name == "stderr")
        except OSError:
            self.drop(LOW_MEMORY_BYTES)
            self._write(data[-LOW_MEMORY_BYTES:], name == "stderr")

    def drop(self, ring: int = 0) -> None:
        """Forget what is kept; of what follows keep the last `ring` bytes."""
        self._first = self._ring_from = self.end
        self._head_end = 0
        self._ring = ring or self._ring
        self._data = Store(self._spools)
        self._marks = None if self._marks is None else Store(self._spools)

    def read(self, position: int, most: int) -> tuple[int, list[tuple[str, bytes]]]:
        """Return bytes from a position on, by stream, and where they begin: later, after a gap.

        Not all that there is: what lies together. Raises WorkerError when it is ahead of the end.
        """
        if position > self.end:
            raise WorkerError(
                "offset_ahead",
                f"There is no output at {position} yet: the log ends at {self.end}.",
                {"next_offset": self.end},
            )
        begin = max(position, self.first)
        if begin >= self._head_end:
            begin = max(begin, self._ring_begin)
        place, room = self._place(begin)
        size = min(most, room, self.end - begin)
        data = self._data.read(place, size)
        if self._marks is None:
            return begin, [("stdout", data)] if data else []
        marks = self._marks.read(place, size).ljust(size, b"\0")
        return begin, list(itertools.islice(self._runs(data, marks), MAX_RUNS))

    @staticmethod
    def _runs(data: bytes, marks: bytes) -> Iterator[tuple[str, bytes]]:
        start = 0
        while start < len(data):
            is_stderr = marks[start]
            end = marks.find(b"\0" if is_stderr else b"\1", start)
            end = len(data) if end < 0 else end
            yield "stderr" if is_stderr else "stdout", data[start:end]
            start = end

    def _place(self, position: int) -> tuple[int, int]:
        """Return where a position is in the stores, and how many bytes lie together from there."""
        if position < self._head_end:
            return position, self._head_end - position
        into = (position - self._ring_from) % self._ring
        return self._head_end + into, self._ring - into

    def _write(self, data: bytes, is_stderr: bool) -> None:
        while data:
            place, room = self._place(self.end)
            part, data = data[:room], data[room:]
            self._data.write(place, part)
            if self._marks is not None:
                self._marks.write(place, (b"\1" if is_stderr else b"\0") * len(part))
            self.end += len(part)
