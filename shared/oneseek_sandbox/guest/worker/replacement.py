"""Finds bytes in a stream and writes others instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.drafts import Draft

__all__ = ["Replacement"]


class Replacement:
    """Finds `old` in a stream, leftmost first and without overlap, and writes `new` instead."""

    def __init__(self, old: bytes, new: bytes, every: bool) -> None:
        self._old = old
        self._new = new
        self._every = every
        self._rest = b""
        self._has_crlf = False
        self.count = 0

    def feed(self, chunk: bytes, draft: Draft) -> None:
        """Take the next bytes; those that may begin an `old` are held back."""
        data = self._rest + chunk
        self._has_crlf = self._has_crlf or b"\r\n" in data
        position = self._take(data, draft)
        cut = max(position, len(data) - len(self._old) + 1)
        self._write(data[position:cut], draft)
        self._rest = data[cut:]

    def close(self, draft: Draft) -> None:
        """Write what was held back."""
        self._write(self._rest, draft)

    def check(self, path: str) -> None:
        """Refuse unless there was one, or any number for `replace_all`."""
        if self.count == 0:
            told = f"old does not occur in {path}; read it again."
            if b"\n" in self._old and self._has_crlf != (b"\r\n" in self._old):
                ends = "\\r\\n" if self._has_crlf else "\\n"
                told += f" Its lines end with {ends}: write them so in old and new."
            raise WorkerError("text_not_found", told)
        if self.count > 1 and not self._every:
            raise WorkerError(
                "text_not_unique",
                f"old occurs {self.count} times in {path}; give more context or replace_all.",
            )

    def _take(self, data: bytes, draft: Draft) -> int:
        position = 0
        while (found := data.find(self._old, position)) >= 0:
            self.count += 1
            self._write(data[position:found], draft)
            self._write(self._new, draft)
            position = found + len(self._old)
        return position

    def _write(self, data: bytes, draft: Draft) -> None:
        if data and (self._every or self.count < 2):
            draft.write(data)
