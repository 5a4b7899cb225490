"""The head and the tail of an output."""

from __future__ import annotations

__all__ = ["Capture"]


class Capture:
    """Keeps the head and the tail of a stream and counts the rest.

    Args:
        least_tail: How many of the last bytes are kept even when half the limit is less.
    """

    def __init__(self, limit: int, least_tail: int = 0) -> None:
        self._head_limit = (limit + 1) // 2
        self._ring_limit = max(limit - self._head_limit, least_tail)
        self._head = bytearray()
        self._ring = bytearray()
        self._start = 0
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        room = self._ring_limit - len(self._ring)
        if room > 0:
            self._ring += data[:room]
            data = data[room:]
        if data and self._ring_limit:
            self._overwrite(data)

    def _overwrite(self, data: bytes) -> None:
        limit = self._ring_limit
        skipped = max(0, len(data) - limit)
        start = (self._start + skipped) % limit
        data = data[skipped:]
        first = data[: limit - start]
        self._ring[start : start + len(first)] = first
        rest = data[len(first) :]
        self._ring[: len(rest)] = rest
        self._start = (start + len(data)) % limit

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return len(self._head) + len(self._ring)

    def parts(self) -> tuple[memoryview, memoryview]:
        """Return head and tail."""
        if self._start:
            self._ring = self._ring[self._start :] + self._ring[: self._start]
            self._start = 0
        return memoryview(self._head), memoryview(self._ring)
