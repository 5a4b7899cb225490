"""What writing and replacing stand on: an open file, what is sought, what is asked for."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import CHUNK, WorkerError
from oneseek_sandbox.guest.worker.paths import check_regular, path_changed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.guest.worker.drafts import Draft
    from oneseek_sandbox.guest.worker.fields import Fields
    from oneseek_sandbox.guest.worker.paths import Place

__all__ = ["Replacement", "Source", "WriteOrder", "check_hash", "check_writable"]


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


class WriteOrder:
    """What a write request asks for besides its bytes."""

    def __init__(self, path: str, fields: Fields) -> None:
        self.path = path
        self.append = fields.flag("append")
        self.create_only = fields.flag("create_only")
        self.sync = fields.flag("sync")
        self.if_sha256 = fields.optional_text("if_sha256", limit=64)
        mode = fields.optional_text("mode", limit=5)
        fields.close()
        if mode is not None and (not 3 <= len(mode) <= 4 or mode.strip("01234567")):
            raise WorkerError("invalid_request", "mode must be octal, like 0644.")
        self.mode = None if mode is None else int(mode, 8) & 0o777
        if self.create_only and (self.append or self.if_sha256 is not None):
            raise WorkerError("invalid_request", "create_only goes with neither of the others.")

    def check(self, place: Place) -> None:
        """Refuse what cannot be written, before and after the bytes have come."""
        if place.name == b".":
            raise WorkerError("is_a_directory", f"{self.path} is a directory, not a file.")
        if place.info is None:
            return
        check_regular(place.info, self.path)
        if self.create_only:
            raise WorkerError("file_exists", f"{self.path} is there already.")
        check_writable(place, self.path)


def check_writable(place: Place, path: str) -> None:
    """Refuse a read-only file, which a rename would replace all the same."""
    if not os.access(place.name, os.W_OK, dir_fd=place.directory, effective_ids=True):
        if place.refresh(path) is None:
            raise path_changed(path)
        raise WorkerError("permission_denied", f"{path} is read-only; change its mode first.")


def check_hash(wanted: str | None, found: str | None, path: str) -> None:
    """Refuse when the content is not the one the caller knows."""
    if wanted is not None and wanted.lower() != found:
        raise WorkerError("content_changed", f"{path} has changed ({found} now); read it again.")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise WorkerError("invalid_request", f"{name} has a lone surrogate.") from None
