"""Bytes of output: in memory while they are few, else in a file without a name.

This process has the memory of the sandbox's first process and no more, whatever commands print.
"""

from __future__ import annotations

import binascii
import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["LOW_MEMORY_BYTES", "MAX_MEMORY_BYTES", "MAX_SHARED_BYTES", "Spools", "Store"]

MAX_MEMORY_BYTES = 256 * 1024  # of one store; what is more goes into a file
MAX_SHARED_BYTES = 2 * 1024 * 1024  # of all stores together; beyond, each has less
LOW_MEMORY_BYTES = 16 * 1024  # of one store then


class Spools:
    """The stores of one worker.

    Args:
        folders: Where a file without a name may be; the first that takes one.
    """

    def __init__(self, folders: Sequence[bytes]) -> None:
        self._folders = folders
        self.in_memory = 0  # bytes of all stores

    def open(self) -> int:
        """Return the descriptor of an empty file without a name; raises OSError where none can be."""
        failure: OSError = FileNotFoundError()
        for folder in self._folders:
            try:
                return self._open_in(folder)
            except OSError as error:
                failure = error
        raise failure

    @staticmethod
    def _open_in(folder: bytes) -> int:
        with contextlib.suppress(OSError):  # some file systems have no files without a name
            return os.open(folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        # Such a name is a draft's: listings leave it out, and the next worker deletes it.
        name = folder + b"/.oneseek-" + binascii.hexlify(os.urandom(12)) + b".tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(name, flags, 0o600)
        os.unlink(name)
        return fd


class Store:
    """Bytes by their position; what was not written in between is zeros."""

    __slots__ = ("_fd", "_memory", "_spools")

    def __init__(self, spools: Spools) -> None:
        self._spools = spools
        self._memory = bytearray()
        self._fd = -1

    def __del__(self) -> None:
        self._spools.in_memory -= len(self._memory)
        if self._fd >= 0:
            os.close(self._fd)

    def write(self, position: int, data: bytes) -> None:
        """Write at a position; raises OSError when it takes a file and the disk has no room."""
        end = position + len(data)
        if self._fd < 0 and self._is_too_much(end):
            self.spill()
        if self._fd >= 0:
            self._write_file(position, data)
            return
        before = len(self._memory)
        self._memory.extend(bytes(max(0, position - before)))
        self._memory[position:end] = data
        self._spools.in_memory += len(self._memory) - before

    def read(self, position: int, size: int) -> bytes:
        """Return bytes that were written."""
        if self._fd >= 0:
            return os.pread(self._fd, size, position)
        return bytes(self._memory[position : position + size])

    def spill(self) -> None:
        """Move what is in memory into a file; raises OSError when there is no room for one."""
        fd = self._spools.open()
        kept, self._fd = self._memory, fd
        try:
            self._write_file(0, kept)
        except OSError:
            self._fd = -1
            os.close(fd)
            raise
        self._spools.in_memory -= len(kept)
        self._memory = bytearray()

    def _is_too_much(self, end: int) -> bool:
        if end > MAX_MEMORY_BYTES:
            return True
        return end > LOW_MEMORY_BYTES and self._spools.in_memory > MAX_SHARED_BYTES

    def _write_file(self, position: int, data: bytes | bytearray) -> None:
        view = memoryview(data)
        while view:
            written = os.pwrite(self._fd, view, position)
            position += written
            view = view[written:]
