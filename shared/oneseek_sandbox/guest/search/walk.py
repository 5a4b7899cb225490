"""What is in a directory and below it, and those whose names fit."""

from __future__ import annotations

import errno
import os
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.search.base import decoded, encoded, kernel_devices, text_of
from oneseek_sandbox.guest.search.patterns import Pattern, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from oneseek_sandbox.guest.search.base import Found

__all__ = ["glob", "is_below", "walk"]


def walk(request: dict[str, Any], found: Found) -> Iterator[tuple[bytes, list[str], bool]]:
    """Yield path, names below the root, and whether it is a directory; links are not followed."""
    root = decoded(request["path"])
    ignored = [compiled(name) for name in request["ignore"]]
    os.close(os.open(root, os.O_RDONLY))  # what cannot be read at all is an error, not a part

    def note(error: OSError) -> None:
        found.cut = found.cut or "unreadable"

    def is_kept(name: bytes) -> bool:
        return not any(pattern.match(text_of(name)) for pattern in ignored)

    closed = kernel_devices() if request["anywhere"] else set()
    waiting = [root]
    while waiting:
        # A level at a time: before Python 3.12 os.walk recurses, and trees are deeper than it can.
        level = next(os.walk(waiting.pop(), onerror=note), None)
        if found.is_over():
            return
        if level is None:
            continue
        folder, folders, files = level
        below = os.path.relpath(folder, root)
        parts = [] if below == b"." else text_of(below).split("/")
        folders = sorted(filter(is_kept, folders))
        inner = [os.path.join(folder, name) for name in reversed(folders)]
        waiting += [path for path in inner if _is_entered(path, closed)]
        for name in folders:
            yield os.path.join(folder, name), [*parts, text_of(name)], True
        for name in sorted(files):
            if found.is_over():
                return
            if not request["ignore_files"] or is_kept(name):
                yield os.path.join(folder, name), [*parts, text_of(name)], False


def _is_entered(path: bytes, closed: set[int]) -> bool:
    if os.path.islink(path):
        return False
    try:
        return not closed or os.lstat(path).st_dev not in closed
    except OSError:
        return False


def glob(request: dict[str, Any], found: Found) -> None:
    """Find names; results are pairs of path and whether it is a directory."""
    pattern = Pattern(request["glob"], dots=request["dots"])
    root = os.path.realpath(decoded(request["path"]))
    if not stat.S_ISDIR(os.stat(root).st_mode):
        raise NotADirectoryError(errno.ENOTDIR, "not a directory")
    for path, parts, is_directory in walk(request, found):
        if pattern.fits(parts) and (
            request["include_dirs"] if is_directory else is_below(path, root)
        ):
            found.add([encoded(path), is_directory])
            if found.is_over():
                return


def is_below(path: bytes, root: bytes) -> bool:
    """Tell whether it is a file, or a link to one, in this directory or below it."""
    real = os.path.realpath(path)
    return os.path.isfile(real) and real.startswith(root.rstrip(b"/") + b"/")
