"""What every module stands on: the errors that a worker answers with, and its log."""

from __future__ import annotations

import errno
import os
import select

__all__ = [
    "CHUNK",
    "ERRNO_CODES",
    "MAX_MESSAGE",
    "STATUS",
    "NotStartedError",
    "WorkerError",
    "from_os_error",
    "log",
    "log_crash",
    "log_fault",
    "place",
    "places",
]

CHUNK = 256 * 1024
MAX_MESSAGE = 2000
STATUS = {
    "answer_evicted": 409,
    "bad_token": 401,
    "cannot_execute": 409,
    "claim_conflict": 409,
    "command_not_found": 404,
    "command_not_started": 503,
    "content_changed": 409,
    "disk_full": 409,
    "file_exists": 409,
    "file_not_found": 404,
    "file_too_large": 413,
    "input_full": 429,
    "input_gap": 409,
    "internal": 500,
    "invalid_request": 400,
    "is_a_directory": 409,
    "method_not_allowed": 405,
    "not_a_directory": 409,
    "not_a_regular_file": 409,
    "offset_ahead": 400,
    "path_changed": 409,
    "path_outside_workspace": 400,
    "permission_denied": 403,
    "process_ended": 409,
    "process_not_found": 404,
    "request_id_conflict": 409,
    "request_ids_exhausted": 409,
    "request_too_large": 413,
    "restarted": 410,
    "stale_generation": 409,
    "stdin_closed": 409,
    "text_not_found": 409,
    "text_not_unique": 409,
    "too_many_commands": 429,
    "too_many_streams": 429,
    "unclaimed": 409,
    "unknown_verb": 404,
}
ERRNO_CODES = {
    errno.ENOENT: "file_not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
    errno.EBUSY: "permission_denied",  # a file that is mounted by itself cannot be replaced
    errno.ETXTBSY: "permission_denied",
    errno.ENOSPC: "disk_full",
    errno.EDQUOT: "disk_full",
    errno.ENOTDIR: "not_a_directory",
    errno.EISDIR: "is_a_directory",
    errno.ELOOP: "path_changed",  # only what was no symlink a moment ago is opened
    errno.ENXIO: "not_a_regular_file",
    errno.ENAMETOOLONG: "invalid_request",
    errno.EEXIST: "file_exists",
    errno.EFBIG: "file_too_large",
}


class WorkerError(Exception):
    """An answer other than 200: a stable code, and a message an agent can act on.

    Args:
        details: Figures that a program goes on with.
    """

    def __init__(self, code: str, message: str, details: dict[str, int] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.details = details
        self.status = STATUS[code]
        self.message = message[:MAX_MESSAGE]  # it may name what a caller sent


class NotStartedError(WorkerError):
    """The kernel gave no process, memory or descriptor for a command."""

    def __init__(self, number: int) -> None:
        self.reason = os.strerror(number)
        super().__init__(
            "command_not_started",
            f"The command did not start: {self.reason}. Wait for a running command, cancel one, or end "
            'all processes of the sandbox with cancel "*", which keeps the files.',
        )
        self.lacks_room = number in (errno.EAGAIN, errno.ENOMEM)


def from_os_error(error: OSError, subject: str) -> WorkerError:
    """Say what the operating system refused, and about which path."""
    code = ERRNO_CODES.get(error.errno or 0, "internal")
    of_mode = error.errno in (errno.EACCES, errno.EPERM)
    advice = " A command can change the mode: chmod -R u+rwX." if of_mode else ""
    return WorkerError(code, f"{subject}: {os.strerror(error.errno or 0)}.{advice}")


def log(text: str) -> None:
    """Write a line to stderr, or drop it when nobody reads: the worker must not block on its log."""
    try:
        if select.select((), (2,), (), 0)[1]:
            os.write(2, f"worker: {text}\n".encode(errors="replace")[:4000])
    except (OSError, ValueError):
        pass


def log_fault(error: BaseException) -> None:
    """Log a fault of our own by kind and place; its text could hold what a user sent."""
    log(f"{type(error).__name__} at {places(error)}")


def log_crash(kind: type[BaseException], error: BaseException, _: object) -> None:
    """Log what ends this process: `sys.excepthook`."""
    log(f"{kind.__name__} at {places(error)}: {error}")


def places(error: BaseException) -> str:
    """Return modules and lines on the way to an error, as `main.py:12 server.py:34`."""
    found = []
    trace = error.__traceback__
    while trace is not None:
        found.append(place(trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return " ".join(found)


def place(path: str, line: int) -> str:
    """Return module and line; lines of the one file are looked up in its table."""
    if path == place.__code__.co_filename:
        words = globals().get("MODULE_LINES", "").split()
        for first, own, module in zip(words[-3::-3], words[-2::-3], words[::-3]):
            if int(first) <= line:
                return f"{module}.py:{line - int(first) + int(own)}"
    return f"{path.rpartition('/')[2]}:{line}"
