"""Deletion of what a sandbox left behind: hostile names, modes and links included."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["remove_tree"]

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def remove_tree(path: Path) -> bool:
    """Delete a folder and all below it, never following a link; True when nothing is left.

    Goes by descriptors, so depth and path length do not matter, and by one level at a time: what
    lies deep is moved up first, which bounds both open files and recursion.
    """
    try:
        parent = os.open(path.parent, _FOLDER)
    except FileNotFoundError:
        return True
    try:
        _remove(path.name, parent)
        return not _exists(path.name, parent)
    finally:
        os.close(parent)


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _remove(name: str, parent: int) -> None:
    try:
        root = _open_folder(name, parent)
    except (FileNotFoundError, NotADirectoryError):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=parent)
        return
    try:
        prefix = f".lifted-{secrets.token_hex(8)}"
        lifted = 0
        while folders := _empty_of_files(root):
            before = lifted
            for folder in folders:
                lifted += _lift_folders(folder, root, f"{prefix}-{lifted}")
            if not _remove_empty(folders, root) and lifted == before:
                break  # something cannot be deleted (a mount, an immutable file)
    finally:
        os.close(root)
    with contextlib.suppress(OSError):
        os.rmdir(name, dir_fd=parent)


def _open_folder(name: str, parent: int) -> int:
    try:
        return os.open(name, _FOLDER, dir_fd=parent)
    except PermissionError:
        # A folder of mode 000 that belongs to us; O_PATH proves it is no link before the chmod.
        handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        try:
            if not stat.S_ISDIR(os.fstat(handle).st_mode):
                raise NotADirectoryError(name) from None
            os.chmod(f"/proc/self/fd/{handle}", 0o700)  # noqa: PTH101 - a descriptor, not a path
        finally:
            os.close(handle)
        return os.open(name, _FOLDER, dir_fd=parent)


def _empty_of_files(folder: int) -> list[str]:
    """Delete all that is not a folder, and return the folders."""
    os.chmod(folder, 0o700)
    folders = []
    with os.scandir(folder) as entries:
        names = [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for name, is_folder in names:
        if is_folder:
            folders.append(name)
        else:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
    return folders


def _remove_empty(folders: list[str], root: int) -> int:
    """Delete the folders that are empty by now, and return how many were."""
    removed = 0
    for folder in folders:
        with contextlib.suppress(OSError):
            os.rmdir(folder, dir_fd=root)
            removed += 1
    return removed


def _lift_folders(name: str, root: int, prefix: str) -> int:
    """Empty a folder by moving its own folders up beside it, and return how many it had."""
    folder = _open_folder(name, root)
    try:
        inner = _empty_of_files(folder)
        for offset, child in enumerate(inner):
            # Renaming a folder writes its `..`, which a mode of 000 forbids to its owner.
            with contextlib.suppress(OSError):
                os.close(_open_folder(child, folder))
            os.rename(child, f"{prefix}-{offset}", src_dir_fd=folder, dst_dir_fd=root)
    finally:
        os.close(folder)
    return len(inner)
