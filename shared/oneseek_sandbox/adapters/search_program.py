"""Runs inside a sandbox, by its text: finds names, finds lines, deletes. Python 3.9, stdlib only.

A request (of `search.py`) comes as JSON on standard input, and the answer goes out as JSON: no shell
and no other tool sees a name, so names may have colons, newlines and bytes that are no UTF-8: they are bytes here.
"""

# ruff: noqa: PTH113, PTH114, PTH116, PTH118, PTH120, PTH123
from __future__ import annotations

import base64
import errno
import fnmatch
import functools
import json
import os
import re
import stat
import subprocess
import sys
import time
from typing import Any, Callable, Iterator  # noqa: UP035 - Python 3.9 inside

_PREFIX = "base64:"
_SAMPLE_BYTES = 8192
_MOST_ALTERNATIVES = 1000
_REASONS = {
    errno.ENOENT: "file_not_found",
    errno.ENOTDIR: "not_a_directory",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
}
Search = Callable[[str], Any]


class Refused(Exception):  # noqa: N818 - an answer rather than a fault
    """Ends the program with an answer that says why nothing was done."""


class Found:
    """Results within their limits: how many, how many bytes of answer, and until when."""

    def __init__(self, request: dict[str, Any]) -> None:
        self.results: list[Any] = []
        self.cut = ""
        self._most = request["max_results"]
        self._bytes = request["max_bytes"]
        self._deadline = time.monotonic() + request["seconds"]

    def add(self, result: object) -> None:
        """Keep a result, unless it is one too many."""
        self._bytes -= len(json.dumps(result)) + 2
        if self._bytes < 0 or len(self.results) == self._most:
            self.cut = "budget"
        else:
            self.results.append(result)

    def is_over(self) -> bool:
        """Tell whether to stop."""
        if time.monotonic() > self._deadline:
            self.cut = "budget"
        return self.cut == "budget"


def encoded(path: bytes) -> str:
    """Return a path as the verbs write it."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return _PREFIX + base64.b64encode(path).decode()


def decoded(text: str) -> bytes:
    """Return the bytes of a path as the verbs write it."""
    if text.startswith(_PREFIX):
        return base64.b64decode(text[len(_PREFIX) :])
    return text.encode()


def alternatives(pattern: str) -> list[str]:
    """Expand `{a,b}`, nested ones too; a group without a comma is literal."""
    done: list[str] = []
    waiting = [("", pattern)]
    while waiting:
        if len(done) + len(waiting) > _MOST_ALTERNATIVES:
            raise Refused("pattern_too_broad")
        before, rest = waiting.pop()
        begin = rest.find("{")
        commas, end = _group(rest, begin) if begin >= 0 else ([], -1)
        if end < 0:
            done.append(before + rest)
        elif not commas:
            waiting.append((before + rest[: begin + 1], rest[begin + 1 :]))
        else:
            marks = [begin, *commas, end]
            waiting += [
                (before + rest[:begin], rest[low + 1 : high] + rest[end + 1 :])
                for low, high in zip(marks, marks[1:])  # noqa: B905, RUF007 - Python 3.9 inside
            ]
    return done


def _group(text: str, begin: int) -> tuple[list[int], int]:
    """Return where the commas and the end of the group that begins at `begin` are; -1: no end."""
    depth, commas = 0, list[int]()
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return commas, index
        if depth == 1 and text[index] == ",":
            commas.append(index)
    return [], -1


class Pattern:
    """A glob: without a slash for the last name at any depth, else for the path below the root.

    Names that begin with a dot want a pattern that does, unless `dots`.
    """

    def __init__(self, pattern: str, *, dots: bool) -> None:
        if ".." in pattern.replace("\\", "/").split("/"):
            raise Refused("invalid_pattern")
        self._dots = dots
        self._anywhere = "/" not in pattern
        self._choices = [
            [part for part in choice.split("/") if part]
            for choice in alternatives(pattern)
            # A slash at the end asks for directories only, except after `**`.
            if not choice.endswith("/") or choice.endswith("**/")
        ]

    def fits(self, parts: list[str]) -> bool:
        """Tell whether a path below the root, as its names, is meant."""
        if self._anywhere:
            return any(len(c) == 1 and self._name_fits(parts[-1], c[0]) for c in self._choices)
        return any(self._parts_fit(parts, choice) for choice in self._choices)

    def _parts_fit(self, parts: list[str], choice: list[str]) -> bool:
        reached = {0}
        for index, wanted in enumerate(choice):
            if wanted != "**":
                reached = {
                    at + 1
                    for at in reached
                    if at < len(parts) and self._name_fits(parts[at], wanted)
                }
                continue
            spread = set()
            for at in reached:
                end = at
                while end < len(parts) and (self._dots or not parts[end].startswith(".")):
                    end += 1
                # At the end `**` stands for what is below, so for one name at least.
                spread |= set(range(at + (index == len(choice) - 1), end + 1))
            reached = spread
        return len(parts) in reached

    def _name_fits(self, name: str, wanted: str) -> bool:
        if name.startswith(".") and not wanted.startswith(".") and not self._dots:
            return False
        return _compiled(wanted).match(name) is not None


@functools.lru_cache(maxsize=None)  # noqa: UP033 - Python 3.9 inside
def _compiled(wanted: str) -> re.Pattern[str]:
    return re.compile(fnmatch.translate(re.sub(r"\[\^(?=[^\]])", "[!", wanted)))


def walk(request: dict[str, Any], found: Found) -> Iterator[tuple[bytes, list[str], bool]]:
    """Yield path, names below the root, and whether it is a directory; links are not followed."""
    root = decoded(request["path"])
    ignored = [_compiled(name) for name in request["ignore"]]
    os.close(os.open(root, os.O_RDONLY))  # what cannot be read at all is an error, not a part

    def note(error: OSError) -> None:
        found.cut = found.cut or "unreadable"

    def is_kept(name: bytes) -> bool:
        return not any(pattern.match(_text(name)) for pattern in ignored)

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
        parts = [] if below == b"." else _text(below).split("/")
        folders = sorted(filter(is_kept, folders))
        inner = [os.path.join(folder, name) for name in reversed(folders)]
        waiting += [path for path in inner if not os.path.islink(path)]
        for name in folders:
            yield os.path.join(folder, name), [*parts, _text(name)], True
        for name in sorted(files):
            if found.is_over():
                return
            if not request["ignore_files"] or is_kept(name):
                yield os.path.join(folder, name), [*parts, _text(name)], False


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


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


def searcher(request: dict[str, Any]) -> Search:
    """Return what tells whether a line is meant."""
    source = request["pattern"]
    if not request["regex"]:
        # As grep -F does: each line of the pattern is one of several to find.
        source = "|".join(re.escape(part) for part in source.split("\n") if part)
    try:
        return re.compile(source, re.IGNORECASE if request["ignore_case"] else 0).search
    except (re.error, RecursionError) as error:
        raise Refused(f"invalid_pattern: {error}") from None


def grep_file(path: bytes, request: dict[str, Any], search: Search, found: Found) -> None:
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


def delete(request: dict[str, Any], found: Found) -> None:
    """Delete a file, a link, or a directory with all that is in it."""
    path = decoded(request["path"])
    os.lstat(path)
    # Not shutil.rmtree: before Python 3.13 it recurses, and a tree may be a thousand levels deep.
    ended = subprocess.run(
        ["rm", "-rf", "--", path], stderr=subprocess.PIPE, env={"PATH": os.defpath, "LC_ALL": "C"}
    )
    if ended.returncode:
        reason = ended.stderr.decode("utf-8", "replace").strip().rsplit(": ", 1)[-1]
        raise Refused(next((c for n, c in _REASONS.items() if os.strerror(n) == reason), reason))
    found.add(request["path"])


def check_place(request: dict[str, Any]) -> None:
    """Refuse what links lead out of the workspace; for a deletion the last name may be a link."""
    path, deleting = decoded(request["path"]), request["do"] == "delete"
    workspace = os.path.realpath(decoded(request["workspace"]))
    if deleting and os.path.realpath(path) == workspace:
        raise Refused("is_workspace")
    real = os.path.realpath(os.path.dirname(path) if deleting else path)
    if real != workspace and not real.startswith(workspace + b"/"):
        raise Refused("invalid_path")


def main() -> None:
    """Do what standard input says."""
    request = json.load(sys.stdin)
    found, error = Found(request), None
    try:
        check_place(request)
        {"glob": glob, "grep": grep, "delete": delete}[request["do"]](request, found)
    except Refused as refused:
        error = str(refused)
    except OSError as problem:
        error = _REASONS.get(problem.errno or 0, str(problem.strerror))
    json.dump({"error": error, "results": found.results, "cut": found.cut}, sys.stdout)


if __name__ == "__main__":
    main()
