"""The terminal of a process: a pseudoterminal whose other end is here."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import struct
import termios

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.fields import Fields
from oneseek_sandbox.guest.worker.stdin_pipe import StdinPipe

__all__ = ["MAX_SIDE", "MAX_TERMINALS", "Terminal", "TerminalSpec", "window_size"]

MAX_TERMINALS = 8
MAX_SIDE = 1000  # columns, and rows


class TerminalSpec:
    """The terminal that a request asks for."""

    def __init__(self, value: object) -> None:
        fields = _fields("terminal", value)
        self.term = fields.text("term", "xterm-256color", limit=64)
        self.size = _size(fields)
        if not re.fullmatch("[A-Za-z0-9][A-Za-z0-9+._-]*", self.term):
            raise WorkerError("invalid_request", "terminal.term must be a name of terminfo.")


class Terminal(StdinPipe):
    """A terminal whose input is taken by position, as that of a pipe is.

    What is written and not read stays in the kernel, which holds a few KiB and tells nobody how
    much. The end of input is a character (Ctrl-D): as data it has a position, so that one which is
    sent twice ends one program and not the shell around it too.
    """

    def __init__(self, spec: TerminalSpec) -> None:
        try:
            self._fd, self.child_end = os.openpty()  # opened with O_NOCTTY, by PID 1 of a session
        except OSError as error:
            raise _unavailable(error) from None
        self.offset = 0
        self.size = spec.size
        self.term = spec.term
        try:
            self.path = os.ttyname(self.child_end)
            os.set_blocking(self._fd, False)
            self.resize(spec.size)
        except OSError as error:
            os.close(self.child_end)
            self.close()
            raise _unavailable(error) from None

    @property
    def pending(self) -> int:
        """Not known of a terminal, so 0."""
        return 0

    def take(self, data: bytes, offset: int, *, close: bool) -> None:
        """Take the bytes from a position on, as they were typed."""
        if close:
            raise WorkerError(
                "invalid_request",
                "A terminal's input cannot be closed. Send the character Ctrl-D (0x04) as data: at "
                "the beginning of a line, most programs take it for the end.",
            )
        super().take(data, offset, close=False)

    def reading_end(self) -> int:
        """Return one more descriptor, from which the output comes; to be closed by who asked."""
        return os.dup(self._fd)

    def resize(self, size: tuple[int, int]) -> None:
        """Set columns and rows; the kernel tells the foreground by SIGWINCH."""
        columns, rows = self.size = size
        with contextlib.suppress(BlockingIOError):
            fcntl.ioctl(self._fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def foreground(self) -> int:
        """Return the process group that has the terminal; 0 for none."""
        try:
            return os.tcgetpgrp(self._fd)
        except OSError:
            return 0


def window_size(name: str, value: object) -> tuple[int, int]:
    """Return columns and rows from a field of a request."""
    return _size(_fields(name, value))


def _fields(name: str, value: object) -> Fields:
    if not isinstance(value, dict):
        raise WorkerError("invalid_request", f"{name} must be an object with columns and rows.")
    return Fields(value)


def _size(fields: Fields) -> tuple[int, int]:
    size = fields.integer("columns", 1, MAX_SIDE), fields.integer("rows", 1, MAX_SIDE)
    fields.close()
    return size


def _unavailable(error: OSError) -> WorkerError:
    if error.errno in (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOSPC):
        return WorkerError("too_many_commands", "There is no terminal left; end a process first.")
    reason = os.strerror(error.errno or 0)
    return WorkerError(
        "cannot_execute", f"This sandbox has no terminals ({reason}). Nothing was started."
    )
