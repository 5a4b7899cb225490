"""How a script is given to a shell."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import (
    MAX_SCRIPT_ARGUMENT,
    PLAIN,
    RUN_VARIABLE,
    SCRIPT_FD,
    SCRIPT_VARIABLE,
    STAYING,
)
from oneseek_sandbox.guest.worker.drafts import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["candidates", "memory_file", "shell_arguments"]


def candidates(name: bytes, env: dict[bytes, bytes]) -> Iterator[bytes]:
    """Give the files to try for a program, as execvp(3) would."""
    if b"/" in name:
        yield name
        return
    for folder in env.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        path = (folder or b".") + b"/" + name
        if os.access(path, os.F_OK):
            yield path


def shell_arguments(script: bytes, env: dict[bytes, bytes]) -> list[bytes]:
    """Return the arguments that run a script, and make it ready in `env` where it is not in them.

    It comes from SCRIPT_FD when it is too long for either. One plain command stays an argument: of
    that bash makes no process, but becomes it.
    """
    shell = b"bash" if any(candidates(b"bash", env)) else b"sh"
    if len(script) <= MAX_SCRIPT_ARGUMENT:
        first = script.split(None, 1)[:1]
        if shell == b"bash" and PLAIN.issuperset(script) and not STAYING.issuperset(first):
            return [shell, b"-c", b"--", script]
        env[SCRIPT_VARIABLE] = script
        return [shell, b"-c", b"--", RUN_VARIABLE]
    return [shell, b"/proc/self/fd/%d" % SCRIPT_FD]


def memory_file(data: bytes) -> int:
    """Return a descriptor that reads as `data`, backed by no file."""
    fd = os.memfd_create("input", os.MFD_CLOEXEC)
    try:
        write_all(fd, data)
        os.lseek(fd, 0, os.SEEK_SET)
    except BaseException:
        os.close(fd)
        raise
    return fd
