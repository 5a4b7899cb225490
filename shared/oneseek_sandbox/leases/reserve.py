"""Disk space that is kept for the leases and for a start, so that a full disk ends nothing but growth.

Blocking; all of it may be done by several processes at once.
"""

from __future__ import annotations

import ctypes
import errno
import logging
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["RESERVE_BYTES", "Reserve", "allocate_ahead", "is_full"]

log = logging.getLogger(__name__)

RESERVE_BYTES: Final = 8 * 1024**2
_FALLOC_FL_KEEP_SIZE: Final = 1
_FULL: Final = (errno.ENOSPC, errno.EDQUOT)

_libc = ctypes.CDLL(None, use_errno=True)


class Reserve:
    """A file of 8 MB in a home folder that is made shorter when there is no other room."""

    def __init__(self, home: Path) -> None:
        self.path = home / "reserve"

    def take(self) -> None:
        """Allocate it, if it is not whole and the disk has four times as much left."""
        with suppress(OSError):
            if self._size() == RESERVE_BYTES or _free_bytes(self.path.parent) < 4 * RESERVE_BYTES:
                return
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, RESERVE_BYTES)
            finally:
                os.close(descriptor)

    def give_up(self, size: int = RESERVE_BYTES) -> bool:
        """Free so many bytes of it; False when nothing is left.

        In parts, because whoever filled the disk may take each part before its time.
        """
        try:
            left = self._size()
            os.truncate(self.path, max(0, left - size))
        except OSError:
            return False
        if left == RESERVE_BYTES:
            log.warning("The disk of %s is full; its reserve is being used", self.path.parent)
        return left > 0

    def give_up_if_full(self) -> None:
        """Free an eighth of it when not even that is left elsewhere."""
        with suppress(OSError):
            if _free_bytes(self.path.parent) < RESERVE_BYTES // 8:
                self.give_up(RESERVE_BYTES // 8)

    def _size(self) -> int:
        try:
            return self.path.stat().st_size
        except FileNotFoundError:
            return 0


def is_full(error: OSError) -> bool:
    """Return whether an error says that there is no room left."""
    return error.errno in _FULL


def allocate_ahead(path: Path, size: int) -> bool:
    """Give a file that others append to blocks beyond its end, which only it can use.

    Its size stays the same. Nothing is done while half of `size` is left of what was given before.

    Returns:
        False when there is no room; True also where the file system cannot do it.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        found = os.fstat(descriptor)
        if found.st_blocks * 512 - found.st_size >= size // 2:
            return True
        offset, length = ctypes.c_int64(found.st_size), ctypes.c_int64(size)
        if _libc.fallocate(descriptor, _FALLOC_FL_KEEP_SIZE, offset, length) == 0:
            return True
        return ctypes.get_errno() not in _FULL
    finally:
        os.close(descriptor)


def _free_bytes(folder: Path) -> int:
    found = os.statvfs(folder)
    return found.f_bavail * found.f_frsize
