"""Limits, times, the errors that a worker answers with, and its log."""

from __future__ import annotations

import errno
import os
import select

__all__ = [
    "AT_ONCE",
    "BACKGROUND_SECONDS",
    "CHUNK",
    "COMMAND_NICENESS",
    "COUNT_SECONDS",
    "COUNT_SHARE",
    "CROWDED_SECONDS",
    "DISK_CALM_SECONDS",
    "DISK_ENTRIES",
    "DISK_FASTEST",
    "DISK_GROWTH",
    "DISK_LOOK_SECONDS",
    "DISK_SHORTEST_SECONDS",
    "DISK_SLICE_SECONDS",
    "DISK_WALK_SECONDS",
    "ENCODED_AT_ONCE",
    "END_ALL_SECONDS",
    "ERRNO_CODES",
    "EVERYTHING",
    "EXITING_SECONDS",
    "HEADER_SECONDS",
    "IDLE_CHECK_SECONDS",
    "IDLE_MARGIN_SECONDS",
    "KEEP_ALIVE_SECONDS",
    "KILL_SECONDS",
    "LINGER_SECONDS",
    "MAX_CLAIM_BYTES",
    "MAX_CONNECTIONS",
    "MAX_DRAIN_BYTES",
    "MAX_ENDED_NAMES",
    "MAX_HEADERS",
    "MAX_HEADER_BYTES",
    "MAX_JOB_BYTES",
    "MAX_JSON_BYTES",
    "MAX_KEPT_ANSWERS",
    "MAX_KEPT_BYTES",
    "MAX_LIVE_BYTES",
    "MAX_MARKER_BYTES",
    "MAX_MESSAGE",
    "MAX_OPEN_FILES",
    "MAX_OUTPUT_BYTES",
    "MAX_PATH",
    "MAX_PIPE_BYTES",
    "MAX_REPLACE_BYTES",
    "MAX_REQUEST_IDS",
    "MAX_RESTARTED_WALKS",
    "MAX_SCRIPT_ARGUMENT",
    "MAX_STARTS",
    "MAX_SURVEYED_BYTES",
    "MAX_SYNCED_AT_ONCE",
    "MAX_UNSYNCED_BYTES",
    "PLAIN",
    "PRESSED_SECONDS",
    "PROGRESS_SECONDS",
    "PROTOCOL",
    "READ_BYTES",
    "RUN_VARIABLE",
    "SCRIPT_FD",
    "SCRIPT_VARIABLE",
    "SPARE_SECONDS",
    "STATUS",
    "STAYING",
    "SURVEY_SECONDS",
    "TAIL_BYTES",
    "UNCLAIMED_SECONDS",
    "NotStartedError",
    "WorkerError",
    "from_os_error",
    "log",
    "log_fault",
]

PROTOCOL = 1
MAX_HEADER_BYTES = 64 * 1024
MAX_HEADERS = 64
MAX_JSON_BYTES = 20 * 1024 * 1024
MAX_CLAIM_BYTES = 8 * 1024
MAX_MARKER_BYTES = 256
MAX_DRAIN_BYTES = 1024 * 1024
MAX_CONNECTIONS = 256
MAX_LIVE_BYTES = 256 * 1024  # queued for a caller that takes its stream slowly
MAX_PIPE_BYTES = 1024 * 1024  # what a command may leave in its pipes when it ends
TAIL_BYTES = 64 * 1024
READ_BYTES = 64 * 1024
MAX_KEPT_ANSWERS = 256
MAX_KEPT_BYTES = 8 * 1024 * 1024
MAX_REQUEST_IDS = 50_000
MAX_REPLACE_BYTES = 64 * 1024 * 1024
MAX_UNSYNCED_BYTES = 8 * 1024 * 1024  # of a file that is synced
MAX_SYNCED_AT_ONCE = 64  # directories, each held open
MAX_SURVEYED_BYTES = 64 * 1024 * 1024  # larger files have no hash and no lines in answers
MAX_OUTPUT_BYTES = 64 * 1024 * 1024
MAX_SCRIPT_ARGUMENT = 100 * 1024  # Linux refuses one argument above 128 KiB
MAX_JOB_BYTES = 64 * 1024  # well below what a socket takes at once
SCRIPT_FD = 3
# Whoever looks for a process by its command line (`pkill -f`) must not find the shell that runs the
# search. The script then stands in the environment, and is gone from there before it begins.
SCRIPT_VARIABLE = b"_sandbox_script"
RUN_VARIABLE = b'set -- "$%b"; unset %b; eval "shift; $1"' % (SCRIPT_VARIABLE, SCRIPT_VARIABLE)
PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./:,+@% ")
STAYING = frozenset(
    (b"time", b"command", b"builtin", b"eval")
)  # a shell that waits for what follows
MAX_RESTARTED_WALKS = 200
MAX_OPEN_FILES = 4096
CHUNK = 256 * 1024
ENCODED_AT_ONCE = 48 * 1024  # a multiple of three, so that base64 goes on without padding
MAX_MESSAGE = 2000
MAX_PATH = 16 * 1024  # characters; a base64 name takes more than its 4096 bytes

HEADER_SECONDS = 10.0
PROGRESS_SECONDS = 30.0
KEEP_ALIVE_SECONDS = 600.0
LINGER_SECONDS = 2.0
SURVEY_SECONDS = 15.0  # well before a caller gives up
BACKGROUND_SECONDS = 0.25
EXITING_SECONDS = 0.02
KILL_SECONDS = 10.0
IDLE_MARGIN_SECONDS = 60.0
IDLE_CHECK_SECONDS = 5.0
END_ALL_SECONDS = 1.0
SPARE_SECONDS = 30.0
PRESSED_SECONDS = 60.0
CROWDED_SECONDS = 0.25
COUNT_SECONDS = 0.05
COUNT_SHARE = 20  # at most one part of so many of our time goes into counting processes
COMMAND_NICENESS = 10
MAX_ENDED_NAMES = 16
MAX_STARTS = 3
AT_ONCE = frozenset(("monitor_killed", "process_limit", "disk_limit"))  # ended without a grace
EVERYTHING = "*"  # in place of a request_id, when all processes are to end
DISK_LOOK_SECONDS = 0.1  # while a command runs; what a look costs is one statfs
DISK_SHORTEST_SECONDS = 0.01
DISK_FASTEST = (
    4 * 1024**3
)  # bytes a second, into memory first; who is near the limit is looked at more
DISK_CALM_SECONDS = 2.0
DISK_WALK_SECONDS = 10.0  # the longest time without a walk while somebody writes
DISK_SLICE_SECONDS = 0.01
DISK_ENTRIES = 2_000_000
DISK_GROWTH = 1024 * 1024  # past a limit, who has written so much is one who fills the disk
UNCLAIMED_SECONDS = 120.0

STATUS = {
    "answer_evicted": 409,
    "bad_token": 401,
    "claim_conflict": 409,
    "command_not_found": 404,
    "command_not_started": 503,
    "content_changed": 409,
    "disk_full": 409,
    "file_exists": 409,
    "file_not_found": 404,
    "file_too_large": 413,
    "internal": 500,
    "invalid_request": 400,
    "is_a_directory": 409,
    "method_not_allowed": 405,
    "not_a_directory": 409,
    "not_a_regular_file": 409,
    "path_changed": 409,
    "path_outside_workspace": 400,
    "permission_denied": 403,
    "request_id_conflict": 409,
    "request_ids_exhausted": 409,
    "request_too_large": 413,
    "restarted": 410,
    "stale_generation": 409,
    "text_not_found": 409,
    "text_not_unique": 409,
    "too_many_commands": 429,
    "unclaimed": 409,
    "unknown_verb": 404,
}
ERRNO_CODES = {
    errno.ENOENT: "file_not_found",
    errno.EACCES: "permission_denied",
    errno.EPERM: "permission_denied",
    errno.EROFS: "permission_denied",
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
    """An answer other than 200: a stable code, and a message an agent can act on."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
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
    advice = (
        " A command can change the mode: chmod -R u+rwX." if code == "permission_denied" else ""
    )
    return WorkerError(code, f"{subject}: {os.strerror(error.errno or 0)}.{advice}")


def log(text: str) -> None:
    """Write a line to stderr, or drop it when nobody reads: the worker must not block on its log."""
    try:
        if select.select((), (2,), (), 0)[1]:
            os.write(2, f"worker: {text}\n".encode(errors="replace")[:4000])
    except (OSError, ValueError):
        pass


def log_fault(error: Exception) -> None:
    """Log a fault of our own by kind and line; its text could hold what a user sent."""
    where = error.__traceback__
    while where is not None and where.tb_next is not None:
        where = where.tb_next
    log(f"{type(error).__name__} at line {where.tb_lineno if where else 0}")
