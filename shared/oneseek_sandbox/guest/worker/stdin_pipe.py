"""The standard input of a process that is spoken to while it runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
import termios

from oneseek_sandbox.guest.worker.base import WorkerError

__all__ = ["MAX_PENDING_BYTES", "RECENT_BYTES", "SET_PIPE_SIZE", "StdinPipe"]

RECENT_BYTES = 4096
MAX_PENDING_BYTES = 1024 * 1024
SET_PIPE_SIZE = 1031  # F_SETPIPE_SZ; Python knows it from 3.10 on


class StdinPipe:
    """A pipe whose end that is written to is here. What the process has not read is in the kernel."""

    _recent = b""  # the last bytes that were taken

    def __init__(self) -> None:
        self.child_end, self._fd = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(self._fd, False)
        with contextlib.suppress(OSError):  # then it stays at 64 KiB
            fcntl.fcntl(self._fd, SET_PIPE_SIZE, MAX_PENDING_BYTES)
        self.offset = 0  # how many bytes were taken

    @property
    def is_open(self) -> bool:
        """Whether more can be written."""
        return self._fd >= 0

    @property
    def pending(self) -> int:
        """How many bytes the process has not read yet."""
        if self._fd < 0:
            return 0
        with contextlib.suppress(OSError):
            return int(
                struct.unpack("i", fcntl.ioctl(self._fd, termios.FIONREAD, struct.pack("i", 0)))[0]
            )
        return 0

    def close(self) -> None:
        """Let the process read to the end."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def take(self, data: bytes, offset: int, *, close: bool) -> None:
        """Take the bytes from a position on; those that were taken already are dropped."""
        if offset > self.offset:
            raise WorkerError(
                "input_gap",
                f"Input at {offset} would leave a gap: the next byte is {self.offset}.",
                self.details(),
            )
        self._check_repeated(data, offset)
        data = data[self.offset - offset :]
        while data:
            written = self._write(data)
            self.offset += written
            self._recent = (self._recent + data[:written])[-RECENT_BYTES:]
            data = data[written:]
            if data and not written:
                raise WorkerError(
                    "input_full",
                    f"The process has not read what is there, and takes no more: it was given all "
                    f"before {self.offset}. Send the rest when it has read on.",
                    self.details(),
                )
        if close:
            self.close()

    def _check_repeated(self, data: bytes, offset: int) -> None:
        """Refuse what was not taken before, but something else in its place: somebody else's."""
        known = self.offset - len(self._recent)
        start, end = max(offset, known), min(offset + len(data), self.offset)
        if (
            start < end
            and data[start - offset : end - offset] != self._recent[start - known : end - known]
        ):
            raise WorkerError(
                "input_gap",
                f"Other input was taken at {offset}, from another caller: the next byte is "
                f"{self.offset}. Nothing of this was taken.",
                self.details(),
            )

    def details(self) -> dict[str, int]:
        """Return what an answer says of it."""
        return {"stdin_offset": self.offset, "pending": self.pending}

    def _write(self, data: bytes) -> int:
        if self._fd < 0:
            raise self._closed()
        try:
            return os.write(self._fd, data)
        except BlockingIOError:
            return 0
        except OSError:  # nobody reads any more
            self.close()
            raise self._closed() from None

    def _closed(self) -> WorkerError:
        return WorkerError("stdin_closed", "The standard input is closed.", self.details())
