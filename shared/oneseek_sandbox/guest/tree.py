"""Looks at directories inside a sandbox, makes them, and removes what is in them.

Standard input has one request: `do`, `path`, and with `list` and `remove` what `look` of
`adapters/tree.py` says. Standard output gets one answer: `value`, or `errno` and `problem`. Both are
JSON in ASCII, where bytes of a name that are not UTF-8 are halves of surrogate pairs.
"""

from __future__ import annotations

import errno
import json
import os
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

__all__ = ["main"]

_REASONS = (errno.EACCES, errno.EPERM, errno.EBUSY, errno.EROFS, errno.ENOENT, errno.ENOTEMPTY)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _text(path: bytes) -> str:
    return path.decode("utf-8", "surrogateescape")


def _entry(name: bytes, info: os.stat_result | None) -> list[Any]:
    """Return name, whether it is a directory, and a regular file's size."""
    mode = info.st_mode if info else 0
    return [_text(name), stat.S_ISDIR(mode), info.st_size if info and stat.S_ISREG(mode) else None]


def _seen(path: bytes) -> os.stat_result | None:
    """Follow links; one that leads nowhere, or in a circle, is an entry all the same."""
    try:
        return os.stat(path)
    except OSError:
        return None


def _stat(path: bytes, _: dict[str, Any]) -> list[Any]:
    return _entry(os.path.basename(path), os.stat(path))


def _list(path: bytes, request: dict[str, Any]) -> dict[str, Any]:
    """Return entries behind the name `after`, as many as `bytes` of answer allow."""
    entries: list[list[Any]] = []
    room, after = request["bytes"], _bytes(request["after"])
    for name in sorted(name for name in os.listdir(path) if name > after):
        entry = _entry(name, _seen(os.path.join(path, name)))
        room -= len(json.dumps(entry)) + 2
        if room < 0 and entries:
            return {"entries": entries, "more": True}
        entries.append(entry)
    return {"entries": entries, "more": False}


def _make(path: bytes, _: dict[str, Any]) -> None:
    os.makedirs(path, exist_ok=True)


def _remove(path: bytes, request: dict[str, Any]) -> bool:
    """Remove a file, a link, or a directory with all that is in it; not what holds `keep`."""
    keep = os.path.realpath(_bytes(request["keep"]))
    is_link = stat.S_ISLNK(os.lstat(path).st_mode)
    real = os.path.realpath(path)
    if not is_link and (keep + b"/").startswith(real.rstrip(b"/") + b"/"):
        return False
    if is_link or not os.path.isdir(path):
        os.unlink(path)
        return True
    # Not shutil.rmtree: before Python 3.13 it recurses, and a tree may be a thousand levels deep.
    ended = subprocess.run(
        ["rm", "-rf", "--", path], stderr=subprocess.PIPE, env={"PATH": os.defpath, "LC_ALL": "C"}
    )
    if ended.returncode:
        reason = ended.stderr.decode("utf-8", "replace").strip().rsplit(": ", 1)[-1]
        number = next((n for n in _REASONS if os.strerror(n) == reason), errno.EIO)
        raise OSError(number, reason)
    return True


def _exists(path: bytes, _: dict[str, Any]) -> bool:
    return os.path.exists(path)


def _realpath(path: bytes, _: dict[str, Any]) -> str:
    return _text(os.path.realpath(path))


_DO = {
    "stat": _stat,
    "list": _list,
    "make": _make,
    "remove": _remove,
    "exists": _exists,
    "realpath": _realpath,
}


def main() -> None:
    """Do what standard input says."""
    request = json.load(sys.stdin)
    answer: dict[str, Any] = {"value": None, "errno": None, "problem": ""}
    try:
        answer["value"] = _DO[request["do"]](_bytes(request["path"]), request)
    except OSError as problem:
        answer["errno"], answer["problem"] = problem.errno, problem.strerror
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
