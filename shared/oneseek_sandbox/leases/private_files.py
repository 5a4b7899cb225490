"""Folders and locks that belong to this user alone."""

from __future__ import annotations

import fcntl
import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["require_ours", "take_folder", "try_lock"]


def take_folder(folder: Path) -> None:
    """Make a folder where there is none, and close it to other users.

    Raises:
        OSError: It cannot be made, or belongs to somebody else.
    """
    folder.mkdir(parents=True, exist_ok=True)
    require_ours(folder)
    folder.chmod(0o700)


def require_ours(folder: Path) -> None:
    """Refuse what is no folder (a symlink is none), or belongs to another user.

    Raises:
        OSError: It is so.
    """
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise NotADirectoryError(0, "is not a folder")
    if found.st_uid != os.geteuid():
        raise PermissionError(0, "belongs to another user")


def try_lock(descriptor: int) -> bool:
    """Take the exclusive lock of an open file, unless somebody has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
