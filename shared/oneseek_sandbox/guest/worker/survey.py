"""An open file, and what one pass over it tells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import CHUNK
from oneseek_sandbox.guest.worker.digest import sha256

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Source", "Survey"]


class Survey:
    """What one pass over a file tells: size, hash, lines, and where a range of lines lies."""

    def __init__(
        self, start_line: int = 1, end_line: int | None = None, *, whole: bool = True
    ) -> None:
        self._hash = sha256() if whole else None
        self._before = start_line - 1
        self._through = end_line
        self._newlines = 0
        self._last = b"\n"
        self.size = 0
        self.begin: int | None = 0 if start_line == 1 else None
        self.end: int | None = None

    @property
    def sha256(self) -> str | None:
        """The hash of everything fed; None when not the whole file is looked at."""
        return None if self._hash is None else self._hash.hexdigest()

    @property
    def total_lines(self) -> int | None:
        """Lines; a last one without newline counts. None when not the whole file is looked at."""
        return None if self._hash is None else self._newlines + (self._last != b"\n")

    def is_done(self, limit: int | None) -> bool:
        """Say whether so much is known of the range that the rest of the file does not matter."""
        if self._hash is not None or self.begin is None:
            return False
        enough = limit is not None and self.size > self.begin + limit
        return self._through is None or self.end is not None or enough

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        newlines = chunk.count(b"\n")
        if self.begin is None:
            self.begin = self._offset_after(chunk, newlines, self._before)
        if self.end is None and self._through is not None:
            self.end = self._offset_after(chunk, newlines, self._through)
        if self._hash is not None:
            self._hash.update(chunk)
        self._newlines += newlines
        self._last = chunk[-1:]
        self.size += len(chunk)

    def _offset_after(self, chunk: bytes, newlines: int, wanted: int) -> int | None:
        if not self._newlines < wanted <= self._newlines + newlines:
            return None
        position = -1
        for _ in range(wanted - self._newlines):
            position = chunk.find(b"\n", position + 1)
        return self.size + position + 1


class Source:
    """An open file by offset; a small one is read once, so that hash and bytes belong together."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        data = os.pread(fd, CHUNK, 0)
        while 0 < len(data) < CHUNK:
            more = os.pread(fd, CHUNK - len(data), len(data))
            if not more:
                break
            data += more
        self._whole = data if len(data) < CHUNK else None

    def at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        if self._whole is not None:
            return self._whole[offset : offset + size]
        return os.pread(self._fd, size, offset)

    def chunks(self) -> Iterator[bytes]:
        """Give the whole file in pieces."""
        offset = 0
        while chunk := self.at(offset, CHUNK):
            yield chunk
            offset += len(chunk)
