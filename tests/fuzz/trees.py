"""Hostile trees: made inside a sandbox by its own commands, from a list of steps that was drawn.

Run as a program it makes the steps of its standard input, or turns names about for some seconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import sys
import time

__all__ = ["KINDS", "NAMES", "TARGETS"]

NAMES = [
    "a", "b", "d", "new\nline", "-rf", " ", "tab\t\x1b[31m", "é\u202e", "\udcff\udcfe", "\udc80.txt",
    "%2e%2e", "n" * 255, "...", "a:b", "*", "?[x]", "\\", '"', ".oneseek-" + "0" * 24 + ".tmp",
]  # fmt: skip
TARGETS = [
    "a", "b", "d", ".", "..", "../..", "OUTSIDE", "OUTSIDE/secret", "../../outside/secret", "/", "/etc/passwd",
    "/proc/self/environ", "/proc/1/root", "/dev/zero", "ROOT", "ROOT/a", "a/" * 2000, "../" * 40 + "etc",
    "x" * 255, "a/../b", "d/./././a",
]  # fmt: skip
KINDS = [
    "file",
    "folder",
    "link",
    "fifo",
    "socket",
    "hard",
    "sparse",
    "deep",
    "many",
    "mode",
    "gone",
]
MODES = [0o000, 0o100, 0o200, 0o300, 0o400, 0o500, 0o600, 0o700, 0o777, 0o1777, 0o4755]


def make(steps: list, outside: str, root: str) -> None:
    for kind, name, other, target, number in steps:
        with contextlib.suppress(OSError, ValueError):
            make_one(
                kind, name, other, target.replace("OUTSIDE", outside).replace("ROOT", root), number
            )


def make_one(kind: str, name: str, other: str, target: str, number: int) -> None:
    if kind == "file":
        write(name, b"line\r\n" * number)
    elif kind == "folder":
        os.mkdir(name)
        write(name + "/a", b"inner\n")
    elif kind == "link":
        os.symlink(target, name)
    elif kind == "fifo":
        os.mkfifo(name)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind(name)
    elif kind == "sparse":
        write(name, b"begin\n")
        os.truncate(name, 1 << (30 + number % 13))
    elif kind == "deep":
        deep(name, 30 * number)
    elif kind == "many":
        many(name, 50 * number)
    elif kind == "mode":
        os.chmod(name, MODES[number % len(MODES)])
    else:
        {"hard": os.link, "gone": os.rename}[kind](other, name)


def write(name: str, data: bytes) -> None:
    with open(name, "xb") as file:
        file.write(data)


def deep(name: str, levels: int) -> None:
    os.mkdir(name)
    here = os.open(name, os.O_PATH)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_PATH, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)


def many(name: str, count: int) -> None:
    os.mkdir(name)
    for number in range(count):
        os.mknod(f"{name}/{number}", stat.S_IFREG | 0o600)


def turn(outside: str, seconds: float) -> None:
    """Let one name be a folder, a file, a FIFO and links in and out, as fast as it goes."""
    forms = ["folder", "file", "fifo", "in", "out", "up", "loop"]
    for form in forms:
        with contextlib.suppress(OSError):
            {
                "folder": lambda: (
                    os.mkdir("form-folder"),
                    write("form-folder/secret", b"inside\n"),
                ),
                "file": lambda: write("form-file", b"inside\n"),
                "fifo": lambda: os.mkfifo("form-fifo"),
                "in": lambda: os.symlink("form-folder", "form-in"),
                "out": lambda: os.symlink(outside, "form-out"),
                "up": lambda: os.symlink("../../outside", "form-up"),
                "loop": lambda: os.symlink("turning", "form-loop"),
            }[form]()
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        for form in forms:
            with contextlib.suppress(OSError):
                os.rename("form-" + form, "turning")
                os.rename("turning", "form-" + form)
            with contextlib.suppress(OSError):
                os.mkdir("form-folder")
            with contextlib.suppress(OSError):
                write("form-folder/secret", b"inside\n")


def main() -> None:
    task = json.load(sys.stdin)
    os.chdir(task["root"])
    print("ready", flush=True)
    if "seconds" in task:
        turn(task["outside"], task["seconds"])
    else:
        make(task["steps"], task["outside"], task["root"])


if __name__ == "__main__":
    main()
