"""Lines that hold a text, or fit an expression."""

from __future__ import annotations

import os
import re
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.search.base import Refused, decoded, encoded
from oneseek_sandbox.guest.search.patterns import Pattern
from oneseek_sandbox.guest.search.walk import walk

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from oneseek_sandbox.guest.search.base import Found

__all__ = ["grep", "grep_file", "searcher"]

_SAMPLE_BYTES = 8192


def grep(request: dict[str, Any], found: Found) -> None:
    """Find lines; results are path, number and text."""
    search = searcher(request)
    pattern = Pattern(request["glob"], dots=request["dots"]) if request["glob"] else None
    root = decoded(request["path"])
    mode = os.stat(root).st_mode
    if stat.S_ISREG(mode):
        grep_file(root, request, search, found)
    if not stat.S_ISDIR(mode):
        return
    for path, parts, is_directory in walk(request, found):
        if is_directory or (pattern is not None and not pattern.fits(parts)):
            continue
        try:
            if stat.S_ISREG(os.lstat(path).st_mode):
                grep_file(path, request, search, found)
        except OSError:
            found.cut = found.cut or "unreadable"
        if found.is_over():
            return


def searcher(request: dict[str, Any]) -> Callable[[str], Any]:
    """Return what tells whether a line is meant."""
    source = request["pattern"]
    if not request["regex"]:
        # As grep -F does: each line of the pattern is one of several to find.
        source = "|".join(re.escape(part) for part in source.split("\n") if part)
    try:
        return re.compile(source, re.IGNORECASE if request["ignore_case"] else 0).search
    except (re.error, RecursionError) as error:
        raise Refused(f"invalid_pattern: {error}") from None


def grep_file(
    path: bytes, request: dict[str, Any], search: Callable[[str], Any], found: Found
) -> None:
    """Search one file; binary ones and ones over the size limit have no lines."""
    with open(path, "rb") as file:
        if (
            request["max_file_bytes"]
            and os.fstat(file.fileno()).st_size > request["max_file_bytes"]
        ):
            return
        if b"\0" in file.read(_SAMPLE_BYTES):
            return
        file.seek(0)
        for number, line in enumerate(file, start=1):
            text = line.decode("utf-8", "replace").rstrip("\r\n")
            if request["regex"] and len(text) > 10 * request["max_line"]:
                continue  # an expression of a model's may take for ever on it
            if search(text):
                if len(text) > request["max_line"]:
                    text = text[: request["max_line"] - 3] + "..."
                found.add([encoded(path), number, text])
            if found.is_over():
                return
