"""What a command needs to start: descriptors, arguments, environment."""

from __future__ import annotations

import marshal
import os
import socket
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.drafts import write_all

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.guest.worker.terminal import Terminal

__all__ = ["MAX_JOB_BYTES", "SCRIPT_FD", "Job", "Pipes", "candidates", "memory_file"]

SCRIPT_FD = 3
MAX_JOB_BYTES = 64 * 1024  # well below what a socket takes at once


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


class Pipes:
    """The descriptors between PID 1 (reads), the monitor (writes messages) and the command.

    Attributes:
        outputs: Where to read from, by stream; of a terminal there is one.
    """

    def __init__(self, terminal: Terminal | None) -> None:
        self.fds: list[int] = []
        try:
            for _ in range(3 if terminal is None else 1):
                self.fds += os.pipe2(os.O_CLOEXEC)
            if terminal is not None:
                self.fds += terminal.reading_end(), os.dup(terminal.child_end)
        except OSError:
            self.close()
            raise
        self.messages, self.channel, *ends = self.fds
        self.outputs = dict(zip(("stdout", "stderr"), ends[::2]))
        self.stdout_end, self.stderr_end = ends[1], ends[-1]

    def close(self) -> None:
        """Close all of them."""
        for fd in self.fds:
            os.close(fd)

    def keep_reading_ends(self) -> None:
        """Close the ends that belong to the child, and make ours non-blocking."""
        for fd in {self.stdout_end, self.stderr_end, self.channel}:
            os.close(fd)
        for fd in (*self.outputs.values(), self.messages):
            os.set_blocking(fd, False)


class Job:
    """What a monitor needs to start a command; can be sent to one that was forked before.

    Args:
        terminal: The path of the terminal that becomes the command's own; empty for none.
    """

    def __init__(
        self, arguments: list[bytes], env: dict[bytes, bytes], fds: list[int], terminal: str
    ) -> None:
        self.arguments = arguments
        self.env = env
        self.terminal = terminal
        self.fds = fds
        self.cwd, self.channel, self.stdin, self.stdout, self.stderr, *script = fds
        self.script = script[0] if script else -1

    def pack(self) -> bytes:
        """Return all but the descriptors as bytes."""
        return marshal.dumps((self.arguments, self.env, self.terminal))

    @classmethod
    def receive(cls, sock: socket.socket) -> Job:
        """Wait for a job; raises OSError when none will come."""
        data, fds, _, _ = socket.recv_fds(sock, MAX_JOB_BYTES, 6)
        for fd in fds:
            os.set_inheritable(fd, False)
        if not data:
            raise ConnectionResetError
        arguments, env, terminal = marshal.loads(data)  # noqa: S302 - from our own parent
        return cls(arguments, env, list(fds), terminal)


def candidates(name: bytes, env: dict[bytes, bytes]) -> Iterator[bytes]:
    """Give the files to try for a program, as execvp(3) would."""
    if b"/" in name:
        yield name
        return
    for folder in env.get(b"PATH", os.fsencode(os.defpath)).split(b":"):
        path = (folder or b".") + b"/" + name
        if os.access(path, os.F_OK):
            yield path
