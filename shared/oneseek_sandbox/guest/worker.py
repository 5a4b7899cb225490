"""The first process of every sandbox: runs commands and edits files, asked over HTTP/1.1.

Standard library only, one file, Python 3.9 or newer; runs as `python3 -I -S -E worker.py`. The
contract is `docs/worker-protocol.md`. Everything happens in one thread, so that code inside cannot
stop it by using up processes; whatever takes long gives way in between (`turn`).

Reading order: scheduler, kernel, HTTP, workspace files, disk, processes, commands, at-most-once
table, worker.
"""

from __future__ import annotations

import binascii
import contextlib
import ctypes
import errno
import gc
import heapq
import json
import marshal
import os
import select
import signal
import socket
import stat
import sys
import time
from collections import deque
from operator import itemgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
        Iterator,
    )
    from hashlib import sha256
    from typing import Any, NoReturn, Self
else:
    try:
        from _sha2 import sha256  # what hashlib stands on, without OpenSSL's 2 MiB
    except ImportError:
        from _sha256 import sha256

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


# --- scheduler ---------------------------------------------------------------------------------


class Wait:
    """Suspend the running task until a descriptor is ready, the time is over, or it is woken.

    Gives the epoll events that came, 0 when time was over or it was woken.
    """

    __slots__ = ("deadline", "fd", "mask", "task")

    def __init__(self, fd: int = -1, mask: int = 0, deadline: float | None = None) -> None:
        self.fd = fd
        self.mask = mask
        self.deadline = deadline
        self.task: Task | None = None

    def __await__(self) -> Generator[Wait, int, int]:
        return (yield self)


class Task:
    """A coroutine and what it waits for."""

    __slots__ = ("coroutine", "wait")

    def __init__(self, coroutine: Coroutine[Wait, int, None]) -> None:
        self.coroutine = coroutine
        self.wait: Wait | None = None


class Scheduler:
    """Runs coroutines in one thread: epoll, a heap of timers, a queue of what is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: deque[tuple[Task, int | None]] = deque()
        self._tasks: dict[int, Task] = {}
        self._timers: list[tuple[float, int, Wait]] = []
        self._timer_limit = 64
        self._serial = 0

    def spawn(self, coroutine: Coroutine[Wait, int, None]) -> None:
        """Start a coroutine at the next turn; what it raises is logged."""
        self._ready.append((Task(coroutine), None))

    def wake(self, wait: Wait) -> None:
        """Resume the task that waits; nothing happens when it was resumed already."""
        self._resume(wait, 0)

    def run(self) -> NoReturn:
        """Run for ever."""
        while True:
            self._poll()
            for _ in range(len(self._ready)):
                task, events = self._ready.popleft()
                self._step(task, events)

    def _step(self, task: Task, events: int | None) -> None:
        try:
            wait = task.coroutine.send(events)  # type: ignore[arg-type]
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - PID 1 must outlive every fault of one request
            log_fault(error)
            return
        wait.task = task
        task.wait = wait
        if wait.deadline is not None and wait.deadline <= 0:
            self._resume(wait, 0, registered=False)
            return
        if wait.fd >= 0:
            self._tasks[wait.fd] = task
            self._epoll.register(wait.fd, wait.mask)
        if wait.deadline is not None:
            self._add_timer(wait)

    def _add_timer(self, wait: Wait) -> None:
        if len(self._timers) > self._timer_limit:
            # Waits that ended early would otherwise stay until their deadline.
            self._timers = [timer for timer in self._timers if timer[2].task is not None]
            heapq.heapify(self._timers)
            self._timer_limit = 2 * len(self._timers) + 64
        self._serial += 1
        heapq.heappush(self._timers, (wait.deadline or 0.0, self._serial, wait))

    def _resume(self, wait: Wait, events: int, *, registered: bool = True) -> None:
        task = wait.task
        if task is None:
            return
        wait.task = None
        task.wait = None
        if registered and wait.fd >= 0:
            self._epoll.unregister(wait.fd)
            del self._tasks[wait.fd]
        self._ready.append((task, events))

    def _poll(self) -> None:
        timeout = -1.0
        if self._ready:
            timeout = 0.0
        elif self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for fd, events in self._epoll.poll(timeout):
            wait = self._tasks[fd].wait
            if wait is not None:
                self._resume(wait, events)
        now = time.monotonic()
        while self._timers and (self._timers[0][2].task is None or self._timers[0][0] <= now):
            self._resume(heapq.heappop(self._timers)[2], 0)


async def turn() -> None:
    """Let every other task run once."""
    await Wait(deadline=0.0)


async def sleep(seconds: float) -> None:
    """Suspend for so many seconds."""
    await Wait(deadline=time.monotonic() + seconds)


class Condition:
    """Wakes everybody who waits on it; each looks for itself whether its time has come."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waits: list[Wait] = []

    def notify(self) -> None:
        """Wake all."""
        for wait in self._waits:
            self._scheduler.wake(wait)

    async def wait(self, deadline: float | None = None, fd: int = -1, mask: int = 0) -> int:
        """Wait for a notice, the deadline, or events on `fd` (which are returned)."""
        wait = Wait(fd, mask, deadline)
        self._waits.append(wait)
        try:
            return await wait
        finally:
            self._waits.remove(wait)


class Locks:
    """One lock per key, held by at most one task; first come, first served is not promised."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._held: set[object] = set()
        self._changed = Condition(scheduler)

    @contextlib.asynccontextmanager
    async def held(self, key: object, connection: Connection) -> AsyncIterator[None]:
        """Wait until nobody holds `key`, then hold it; a caller that leaves meanwhile is lost."""
        while key in self._held:
            await connection.wait_for(self._changed)
        self._held.add(key)
        try:
            yield
        finally:
            self._held.discard(key)
            self._changed.notify()


# --- kernel ------------------------------------------------------------------------------------

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
SECCOMP_MODE_FILTER = 2
SETTABLE_SIGNALS = [
    int(number) for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
]

# Per machine, one table per instruction set it runs: audit number, prlimit64, setpriority, and the
# calls that slow a process down by number (sched_setparam, sched_setscheduler, sched_setaffinity,
# sched_setattr).
SYSCALLS = {
    "x86_64": (
        (0xC000003E, 302, 141, (142, 144, 203, 314)),
        (0x40000003, 340, 97, (154, 156, 241, 351)),
    ),
    "aarch64": (
        (0xC00000B7, 261, 140, (118, 119, 122, 274)),
        (0x40000028, 369, 97, (154, 156, 241, 380)),
    ),
}

_libc = ctypes.CDLL(None, use_errno=True)


def prctl(option: int, *values: int) -> None:
    """Change a property of this process."""
    padded = [ctypes.c_ulong(value) for value in (*values, 0, 0, 0, 0)[:4]]
    if _libc.prctl(ctypes.c_int(option), *padded) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def set_process_name(name: bytes) -> None:
    """Set the name `ps` and `pkill` see, so that `pkill python` inside does not mean us."""
    text = ctypes.create_string_buffer(name)
    prctl(PR_SET_NAME, ctypes.addressof(text))


def seccomp_program(machine: str) -> bytes:
    """Return the BPF program that keeps code inside from taking PID 1's limits or processor.

    prlimit(2) asks for the same uid only, so without this anyone inside could set PID 1's limits
    to nothing. Refused are new limits for any other process, and scheduling changes of PID 1;
    setpriority(2) by group or user would reach it too, so it works by process only.
    """
    load, equal, bits_and, give = 0x20, 0x15, 0x54, 0x06
    refuse, allow = 0x00050000 | errno.EPERM, 0x7FFF0000
    steps: list[tuple[int, int, int, int]] = []
    for architecture, prlimit, priority, scheduling in SYSCALLS[machine]:
        block = [
            (load, 0, 0, 0),
            (bits_and, 0, 0, 0xBFFFFFFF),  # x32 marks its calls with this bit
            (equal, 0, 8, prlimit),
            (load, 0, 0, 16),
            (equal, 5, 0, 0),
            (load, 0, 0, 32),
            (equal, 0, 2, 0),
            (load, 0, 0, 36),
            (equal, 1, 0, 0),
            (give, 0, 0, refuse),
            (give, 0, 0, allow),
            (equal, 0, 6, priority),
            (load, 0, 0, 16),
            (equal, 0, 3, 0),
            (load, 0, 0, 24),
            (equal, 1, 0, 1),
            (give, 0, 0, allow),
            (give, 0, 0, refuse),
        ]
        for number in scheduling:
            block += [(equal, 0, 4, number), (load, 0, 0, 16), (equal, 0, 1, 1)]
            block += [(give, 0, 0, refuse), (give, 0, 0, allow)]
        block.append((give, 0, 0, allow))
        steps += [(load, 0, 0, 4), (equal, 0, len(block), architecture), *block]
    steps.append((give, 0, 0, allow))
    return b"".join(
        code.to_bytes(2, sys.byteorder) + bytes((true, false)) + value.to_bytes(4, sys.byteorder)
        for code, true, false, value in steps
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("steps", ctypes.c_void_p))


def protect_process() -> None:
    """Make this process unreadable from inside, and put what it starts under the filter."""
    prctl(PR_SET_DUMPABLE, 0)
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    set_process_name(b"sandbox-worker")
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        machine = os.uname().machine
        if machine in SYSCALLS:
            steps = ctypes.create_string_buffer(seccomp_program(machine))
            program = _Program((len(steps) - 1) // 8, ctypes.addressof(steps))
            prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(program))
    except OSError as error:
        log(f"seccomp filter not set: {error.strerror}")


def _on_child(_signal: int, _frame: object) -> None:
    """Exist, so that SIGCHLD reaches the wakeup descriptor."""


def take_signals() -> int:
    """Ignore every signal that can be, and return a descriptor that SIGCHLD makes readable."""
    for number in SETTABLE_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, _on_child)
    return reader


class OutOfMemoryScore:
    """Makes children likelier victims of the out-of-memory killer than this process.

    The file must be opened before the process is made unreadable: later it belongs to root.
    """

    def __init__(self) -> None:
        try:
            self._fd = os.open("/proc/self/oom_score_adj", os.O_RDWR | os.O_CLOEXEC)
            self._own = int(os.read(self._fd, 16))
        except (OSError, ValueError):
            self._fd = -1
            self._own = 0

    def for_children(self) -> None:
        """Raise the score just before a fork."""
        self._write(min(1000, max(self._own, 0) + 500))

    def for_self(self) -> None:
        """Take the score back just after the fork."""
        self._write(self._own)

    def _write(self, score: int) -> None:
        if self._fd >= 0:
            try:
                os.pwrite(self._fd, b"%d" % score, 0)
            except OSError:
                self._fd = -1


def hmac_sha256(key: bytes, message: bytes) -> bytes:
    """Return HMAC-SHA256; the hmac module would load OpenSSL."""
    if len(key) > 64:
        key = sha256(key).digest()
    block = key.ljust(64, b"\0")
    inner = sha256(bytes(byte ^ 0x36 for byte in block) + message).digest()
    return sha256(bytes(byte ^ 0x5C for byte in block) + inner).digest()


# --- HTTP --------------------------------------------------------------------------------------

TOKEN_CHARACTERS = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 409: "Conflict"}


class ConnectionLost(Exception):  # noqa: N818 - an event, not a fault
    """The peer went away, or was too slow."""


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _no_huge_number(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("number too long")
    return int(digits)


def parse_json(data: bytes) -> dict[str, Any]:
    """Return the object in `data`; anything else is refused."""
    try:
        value = json.loads(data.decode(), parse_int=_no_huge_number)
    except (ValueError, RecursionError):
        raise WorkerError("invalid_request", "The body is not valid JSON in UTF-8.") from None
    if not isinstance(value, dict):
        raise WorkerError("invalid_request", "The body must be a JSON object.")
    return value


class Fields:
    """A JSON object whose fields are taken one by one, each with its type and range."""

    def __init__(self, values: dict[str, Any]) -> None:
        self._values = dict(values)

    def text(self, name: str, default: str | None = None, *, limit: int = MAX_JSON_BYTES) -> str:
        """Take a required string, or one with a default, of at most `limit` characters."""
        value = self._values.pop(name, default)
        if not isinstance(value, str) or len(value) > limit:
            raise WorkerError("invalid_request", f"{name} must be a string of up to {limit}.")
        return value

    def optional_text(self, name: str, *, limit: int = MAX_JSON_BYTES) -> str | None:
        """Take a string, or None when it is not there."""
        return None if self._values.get(name) is None else self.text(name, limit=limit)

    def integer(self, name: str, low: int, high: int, default: int | None = None) -> int:
        """Take a whole number between `low` and `high`."""
        value = self._values.pop(name, default)
        if type(value) is not int or not low <= value <= high:
            raise WorkerError("invalid_request", f"{name} must be between {low} and {high}.")
        return value

    def optional_integer(self, name: str, low: int, high: int) -> int | None:
        """Take a whole number, or None when it is not there."""
        return None if self._values.get(name) is None else self.integer(name, low, high)

    def flag(self, name: str) -> bool:
        """Take a boolean; false when it is not there."""
        value = self._values.pop(name, False)
        if type(value) is not bool:
            raise WorkerError("invalid_request", f"{name} must be true or false.")
        return value

    def raw(self, name: str) -> object:
        """Take whatever is there, None when nothing is."""
        return self._values.pop(name, None)

    def close(self) -> None:
        """Refuse what nobody took."""
        unknown = [name for name, value in self._values.items() if value is not None]
        if unknown:
            raise WorkerError("invalid_request", f"Unknown field {unknown[0]!r}.")


class Connection:
    """One client: a socket, what was read from it and not used yet, and bounded waits."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self.fd = sock.fileno()
        self.buffer = bytearray()
        self.trusted = False
        self.idle_since: float | None = time.monotonic()

    async def fill(self, seconds: float) -> bool:
        """Read some more; False at the end of the stream."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                data = self.socket.recv(CHUNK)
            except BlockingIOError:
                if not await Wait(self.fd, select.EPOLLIN, deadline):
                    raise ConnectionLost from None
            except OSError:
                raise ConnectionLost from None
            else:
                self.buffer += data
                return bool(data)

    async def send(self, data: bytes | memoryview, seconds: float = PROGRESS_SECONDS) -> None:
        """Send all of it; a peer that takes nothing for `seconds` is lost."""
        view = memoryview(data)
        while view:
            sent = self.send_some(view)
            view = view[sent:]
            if view and not sent:
                deadline = time.monotonic() + seconds
                if not await Wait(self.fd, select.EPOLLOUT, deadline):
                    raise ConnectionLost

    def send_some(self, data: bytes | memoryview) -> int:
        """Send what the peer takes just now; returns how many bytes."""
        try:
            return self.socket.send(data)
        except BlockingIOError:
            return 0
        except OSError:
            raise ConnectionLost from None

    def is_dropped(self) -> bool:
        """Say whether the peer has closed its side (or only its sending half, which counts)."""
        try:
            return self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    def check_present(self) -> None:
        """Stop here when the caller has gone: what is not committed by now must never be."""
        if self.is_dropped():
            raise ConnectionLost

    async def turn(self) -> None:
        """Let every other task run once; a caller that leaves meanwhile is lost."""
        await turn()
        self.check_present()

    async def wait_for(self, condition: Condition) -> None:
        """Wait for a notice of `condition`; a caller that leaves meanwhile is lost."""
        if await condition.wait(None, self.fd, select.EPOLLRDHUP):
            raise ConnectionLost

    def shut(self) -> None:
        """End both directions now, even while a forked child still holds a copy."""
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    async def read_until(self, mark: bytes, limit: int, deadline: float) -> bytes:
        """Take bytes up to and with `mark`; longer than `limit` is refused."""
        start = 0
        while True:
            found = self.buffer.find(mark, start)
            if found >= 0 and found + len(mark) <= limit:
                end = found + len(mark)
                taken = bytes(self.buffer[:end])
                del self.buffer[:end]
                return taken
            if found >= 0 or len(self.buffer) > limit:
                raise WorkerError("request_too_large", f"More than {limit} bytes of header.")
            start = max(0, len(self.buffer) - len(mark))
            if not await self.fill(deadline - time.monotonic()):
                raise ConnectionLost


class Body:
    """The body of one request, read in pieces."""

    def __init__(self, connection: Connection, length: int, *, chunked: bool) -> None:
        self._connection = connection
        self._left = length  # in the current chunk, when chunked
        self._chunked = chunked
        self._first = True
        self.meter: Callable[[int], None] | None = None
        self.finished = not chunked and length == 0

    async def read(self) -> bytes:
        """Return the next piece, empty at the end; raises ConnectionLost when it breaks off."""
        if self._chunked and self._left == 0 and not self.finished:
            await self._next_chunk()
        if self.finished:
            return b""
        buffer = self._connection.buffer
        if not buffer and not await self._connection.fill(PROGRESS_SECONDS):
            raise ConnectionLost
        piece = bytes(buffer[: self._left])
        del buffer[: self._left]
        self._left -= len(piece)
        self.finished = not self._chunked and self._left == 0
        if self.meter is not None:
            self.meter(len(piece))
        return piece

    @property
    def announced(self) -> int:
        """How many bytes are known to come."""
        return self._left

    async def read_all(self, limit: int) -> bytes:
        """Return the whole body; more than `limit` bytes are refused."""
        if not self._chunked and self._left > limit:
            raise WorkerError("request_too_large", f"The body may be {limit} bytes at most.")
        data = bytearray()
        while not self.finished:
            data += await self.read()
            if len(data) > limit:
                raise WorkerError("request_too_large", f"The body may be {limit} bytes at most.")
        return bytes(data)

    @property
    def is_nearly_read(self) -> bool:
        """Whether so little is left that reading it costs less than a new connection."""
        return self.finished or (not self._chunked and self._left <= MAX_DRAIN_BYTES)

    async def drain(self) -> None:
        """Throw away the rest."""
        while not self.finished:
            await self.read()

    async def _next_chunk(self) -> None:
        deadline = time.monotonic() + PROGRESS_SECONDS
        if not self._first:
            await self._expect_line(b"", deadline)
        self._first = False
        line = await self._connection.read_until(b"\r\n", 256, deadline)
        digits = line[:-2].split(b";", 1)[0].strip(b" \t")
        if not 0 < len(digits) <= 15 or digits.strip(b"0123456789abcdefABCDEF"):
            raise WorkerError("invalid_request", "A chunk of the body has no valid length.")
        self._left = int(digits, 16)
        if self._left == 0:
            await self._skip_trailers(deadline)
            self.finished = True

    async def _expect_line(self, line: bytes, deadline: float) -> None:
        if await self._connection.read_until(b"\r\n", 256, deadline) != line + b"\r\n":
            raise WorkerError("invalid_request", "A chunk of the body is longer than it said.")

    async def _skip_trailers(self, deadline: float) -> None:
        for _ in range(MAX_HEADERS):
            if await self._connection.read_until(b"\r\n", 4096, deadline) == b"\r\n":
                return
        raise WorkerError("invalid_request", "Too many trailers after the body.")


class Request:
    """A parsed request head and its body."""

    def __init__(self, connection: Connection, head: bytes) -> None:
        lines = head[:-4].split(b"\r\n")
        if len(lines) > MAX_HEADERS or any(b"\n" in line or b"\r" in line for line in lines):
            raise WorkerError("invalid_request", "The header is malformed or has too many lines.")
        parts = lines[0].split(b" ")
        if len(parts) != 3 or parts[2] not in (b"HTTP/1.1", b"HTTP/1.0"):
            raise WorkerError("invalid_request", "This is not an HTTP/1.1 request.")
        self.connection = connection
        self.method = parts[0].decode("latin-1")
        target = parts[1].decode("latin-1").split("?", 1)
        self.path = target[0]
        self.query = target[1] if len(target) > 1 else ""
        self.headers = self._parse_headers(lines[1:])
        close = self.headers.get("connection", "").lower() == "close"
        self.keep_alive = parts[2] == b"HTTP/1.1" and not close
        self.subject = self.path
        self.answered = False
        self.body = self._frame_body()

    @staticmethod
    def _parse_headers(lines: list[bytes]) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in lines:
            name, colon, value = line.partition(b":")
            name = name.lower()
            # A space before the colon or a folded line is how requests are smuggled.
            if not colon or not name or not TOKEN_CHARACTERS.issuperset(name) or b"\0" in value:
                raise WorkerError("invalid_request", "A header line is malformed.")
            key = name.decode("ascii")
            if key in headers and (key.startswith("x-") or key in _SINGLE_HEADERS):
                raise WorkerError("invalid_request", f"The header {key} came twice.")
            headers[key] = value.strip(b" \t").decode("latin-1")
        return headers

    def _frame_body(self) -> Body:
        length = self.headers.get("content-length")
        coding = self.headers.get("transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != "chunked"):
            raise WorkerError("invalid_request", "Give Content-Length, or chunked encoding only.")
        digits = "0" if length is None else length
        if not (digits.isascii() and digits.isdigit() and len(digits) <= 18):
            raise WorkerError("invalid_request", "Content-Length is not a number.")
        return Body(self.connection, int(digits), chunked=coding is not None)

    def query_value(self, name: str) -> str | None:
        """Return a query parameter; values here need no percent-decoding."""
        for pair in self.query.split("&"):
            key, _, value = pair.partition("=")
            if key == name:
                return value
        return None

    def meta(self) -> Fields:
        """Return the JSON object of the header `x-meta`."""
        return Fields(parse_json(self.headers.get("x-meta", "").encode("latin-1")))

    async def fields(self, limit: int = MAX_JSON_BYTES) -> Fields:
        """Read the body as a JSON object."""
        return Fields(parse_json(await self.body.read_all(limit)))

    def head(self, status: int, headers: str) -> bytes:
        """Return the head of an answer; from here on there is no other answer."""
        self.answered = True
        close = "" if self.keep_alive else "connection: close\r\n"
        reason = REASONS.get(status, "Error")
        return f"HTTP/1.1 {status} {reason}\r\n{headers}{close}\r\n".encode("latin-1")

    async def answer(self, value: object, status: int = 200) -> None:
        """Send a JSON answer."""
        body = _encode(value)
        headers = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        await self.send(headers, body, status)

    async def send(self, headers: str, body: bytes, status: int = 200) -> None:
        """Send an answer whole."""
        await self.connection.send(self.head(status, headers) + body)


_SINGLE_HEADERS = frozenset(("content-length", "transfer-encoding", "host", "connection"))


# --- workspace files ---------------------------------------------------------------------------

OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def decode_path(text: str) -> bytes:
    """Return the bytes of a path: UTF-8, or `base64:` and any bytes."""
    try:
        path = (
            binascii.a2b_base64(text[7:].encode("ascii"))
            if text.startswith("base64:")
            else text.encode()
        )
    except ValueError:
        raise WorkerError("invalid_request", "A path is neither UTF-8 nor base64.") from None
    if b"\0" in path:
        raise WorkerError("invalid_request", "A path must not contain NUL.")
    return path


def encode_path(path: bytes) -> str:
    """Return a path as text; what is not UTF-8 stands as `base64:`."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "base64:" + binascii.b2a_base64(path, newline=False).decode("ascii")


class Place:
    """Where a path leads: a directory held open, and a name in it that is not a symlink."""

    def __init__(self, directory: int, name: bytes, info: os.stat_result | None) -> None:
        self.directory = directory
        self.name = name
        self.info = info

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    def key(self) -> tuple[int, int, bytes]:
        """Return what two requests for the same file have in common."""
        directory = os.fstat(self.directory)
        return directory.st_dev, directory.st_ino, self.name

    def refresh(self, path: str) -> os.stat_result | None:
        """Look again at what is there; None when nothing is."""
        try:
            self.info = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            self.info = None
        if self.info is not None and stat.S_ISLNK(self.info.st_mode):
            raise path_changed(path)
        return self.info


def check_regular(info: os.stat_result, path: str) -> None:
    """Refuse everything that is not a regular file: reading a FIFO could block for ever."""
    if stat.S_ISDIR(info.st_mode):
        raise WorkerError("is_a_directory", f"{path} is a directory, not a file.")
    if not stat.S_ISREG(info.st_mode):
        raise WorkerError("not_a_regular_file", f"{path} is not a regular file.")


def path_changed(path: str) -> WorkerError:
    """Say that a path was changed while it was walked, by whatever runs inside."""
    return WorkerError(
        "path_changed",
        f"{path[:200]} changed while it was looked at: something in the sandbox replaces its links "
        "or directories. Try again.",
    )


class Workspace:
    """Paths in the workspace, each walked name by name so that no symlink leads out of it."""

    def __init__(self, root: str) -> None:
        self.root = os.fsencode(root.rstrip("/") or "/")

    def is_empty(self) -> bool:
        """Return whether nothing is in it, as far as that can be seen."""
        try:
            with os.scandir(self.root) as entries:
                return next(entries, None) is None
        except OSError:
            return False

    def split(self, text: str) -> list[bytes]:
        """Return the names below the workspace; a path that is not in it is refused."""
        path = decode_path(text)
        names = self._names_below(path)
        if names is None or b".." in names:
            root = os.fsdecode(self.root)
            raise WorkerError(
                "path_outside_workspace",
                f"{text[:200]} is not an absolute path in {root} (without '..').",
            )
        return names

    def resolve(self, text: str, *, make_parents: bool = False) -> Place:
        """Walk to where a path leads, through symlinks that stay inside; its end may be missing."""
        names = self.split(text)
        for _ in range(MAX_RESTARTED_WALKS):
            found = self._walk(names, text, make_parents)
            if isinstance(found, Place):
                return found
            names = found
        raise WorkerError("path_outside_workspace", f"{text}: too many levels of symlinks.")

    def resolve_existing(self, text: str) -> Place:
        """Walk to something that is there."""
        place = self.resolve(text)
        if place.info is None:
            os.close(place.directory)
            raise WorkerError("file_not_found", f"{text} does not exist.")
        return place

    def open_root(self) -> int:
        """Open the workspace itself, and give access back to an owner who has locked himself out.

        `chmod -R 644 .` would otherwise end every command before it could be undone.
        """
        root = os.open(self.root, OPEN_DIRECTORY & ~os.O_NOFOLLOW)
        mode = stat.S_IMODE(os.fstat(root).st_mode)
        if not mode & stat.S_IXUSR:
            with contextlib.suppress(OSError):  # not ours: then nobody inside has done it
                os.chmod(self.root, mode | stat.S_IRWXU)  # noqa: PTH101
        return root

    def open_directory(self, text: str, flags: int = os.O_RDONLY) -> int:
        """Open a directory in the workspace."""
        with self.resolve_existing(text) as place:
            if place.info is not None and not stat.S_ISDIR(place.info.st_mode):
                raise WorkerError("not_a_directory", f"{text} is not a directory.")
            mode = flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            return os.open(place.name, mode, dir_fd=place.directory)

    async def sync_names_above(
        self, directory: int, to_disk: Callable[[list[int]], Awaitable[None]]
    ) -> None:
        """Put the names from the workspace to this directory on the disk, but none that is in it."""
        root = os.stat(self.root)  # noqa: PTH116
        fds = [os.open(b".", READ_DIRECTORY, dir_fd=directory)]
        try:
            while not os.path.samestat(here := os.fstat(fds[-1]), root):
                fds.append(os.open(b"..", READ_DIRECTORY, dir_fd=fds[-1]))
                if os.path.samestat(here, os.fstat(fds[-1])):
                    return  # it was moved out of the workspace meanwhile
                if len(fds) > MAX_SYNCED_AT_ONCE:
                    await to_disk(fds[1:])
                    while len(fds) > 1:
                        os.close(fds.pop(0))
            await to_disk(fds[1:])
        finally:
            for fd in fds:
                os.close(fd)

    def open_file(self, text: str) -> int:
        """Open a regular file for reading."""
        with self.resolve_existing(text) as place:
            return self.open_place(place, text)

    @staticmethod
    def open_place(place: Place, text: str) -> int:
        """Open the regular file at a place for reading."""
        if place.info is not None:
            check_regular(place.info, text)
        fd = os.open(place.name, os.O_RDONLY | OPEN_FILE, dir_fd=place.directory)
        try:
            check_regular(os.fstat(fd), text)
        except WorkerError:
            os.close(fd)
            raise
        return fd

    def _names_below(self, path: bytes) -> list[bytes] | None:
        prefix = self.root if self.root == b"/" else self.root + b"/"
        if path != self.root and not path.startswith(prefix):
            return None
        return [name for name in path[len(prefix) :].split(b"/") if name not in (b"", b".")]

    def _walk(self, names: list[bytes], text: str, make_parents: bool) -> list[bytes] | Place:
        """Return the place, or the names to start again with after a symlink or a `..`."""
        directory = self.open_root()
        try:
            for index, name in enumerate(names[:-1]):
                info = self._look(directory, name, make=make_parents)
                again = self._redirect(directory, names, index, info, text)
                if again is not None:
                    os.close(directory)
                    return again
                directory = self._enter(directory, name, info, text)
            if not names:
                return Place(directory, b".", os.fstat(directory))
            info = self._look(directory, names[-1], make=False)
            again = self._redirect(directory, names, len(names) - 1, info, text)
        except BaseException:
            os.close(directory)
            raise
        if again is None:
            return Place(directory, names[-1], info)
        os.close(directory)
        return again

    def _redirect(
        self, directory: int, names: list[bytes], index: int, info: os.stat_result | None, text: str
    ) -> list[bytes] | None:
        """Return the names a `..` or a symlink at `index` leads to; None when it is neither."""
        if names[index] == b"..":
            return self._go_up(names, index, text)
        if info is not None and stat.S_ISLNK(info.st_mode):
            try:
                target = os.readlink(names[index], dir_fd=directory)
            except OSError:
                raise path_changed(text) from None
            return self._follow(names, index, target, text)
        return None

    @staticmethod
    def _enter(directory: int, name: bytes, info: os.stat_result | None, text: str) -> int:
        if info is None:
            raise WorkerError("file_not_found", f"{text} does not exist.")
        try:
            below = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(info.st_mode):
                raise path_changed(text) from None
            raise
        os.close(directory)
        return below

    @staticmethod
    def _look(directory: int, name: bytes, *, make: bool) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                return None
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=directory)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    @staticmethod
    def _go_up(names: list[bytes], index: int, text: str) -> list[bytes]:
        # What stands before was just walked and holds no symlink, so `..` may go by name.
        if index == 0:
            raise WorkerError("path_outside_workspace", f"{text} leads out of the workspace.")
        return names[: index - 1] + names[index + 1 :]

    def _follow(self, names: list[bytes], index: int, target: bytes, text: str) -> list[bytes]:
        if not target.startswith(b"/"):
            steps = [name for name in target.split(b"/") if name not in (b"", b".")]
            return names[:index] + steps + names[index + 1 :]
        inside = self._names_below(target)
        if inside is None:
            raise WorkerError("path_outside_workspace", f"{text} leads out of the workspace.")
        return inside + names[index + 1 :]


def is_draft(name: bytes) -> bool:
    """Say whether a name is one that `Draft` gives."""
    return len(name) == 37 and name.startswith(b".oneseek-") and name.endswith(b".tmp")


class Sync:
    """Puts a file on the disk in pieces while it is written, and its names.

    Args:
        to_disk: Syncs descriptors; None when nothing is to be synced.
    """

    def __init__(
        self, workspace: Workspace, to_disk: Callable[[list[int]], Awaitable[None]] | None
    ) -> None:
        self._workspace = workspace
        self._to_disk = to_disk
        self._unsynced = 0

    @contextlib.asynccontextmanager
    async def names(self, directory: int) -> AsyncIterator[None]:
        """Sync the names above a directory, then, when all went well, those in it.

        What can be refused is refused before the file changes.
        """
        if self._to_disk is None:
            yield
            return
        await self._workspace.sync_names_above(directory, self._to_disk)
        fd = os.open(b".", READ_DIRECTORY, dir_fd=directory)
        try:
            yield
            await self._to_disk([fd])
        finally:
            os.close(fd)

    async def wrote(self, fd: int, count: int) -> None:
        """Sync the file when much of it is not."""
        self._unsynced += count
        if self._to_disk is not None and self._unsynced >= MAX_UNSYNCED_BYTES:
            await self._to_disk([fd])
            self._unsynced = 0

    async def file(self, fd: int) -> None:
        """Sync the file, whose bytes and mode are all there."""
        if self._to_disk is not None:
            await self._to_disk([fd])


class Draft:
    """A temporary file beside its target: put in place whole, or gone."""

    def __init__(self, directory: int, names: set[bytes]) -> None:
        self._directory = directory
        self._names = names
        self.name = b".oneseek-" + binascii.hexlify(os.urandom(12)) + b".tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.name, flags, 0o600, dir_fd=directory)
        self._names.add(self.name)
        self._hash = sha256()
        self.meter: Callable[[int], None] | None = None  # for what no body has announced
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self._names.discard(self.name)
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._directory)

    @property
    def sha256(self) -> str:
        """The hash of what was written."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        if self.meter is not None:
            self.meter(len(data))
        write_all(self.fd, data)
        self._hash.update(data)
        self.size += len(data)

    def place(self, name: bytes, *, create_only: bool = False) -> None:
        """Give it its name, over what is there unless `create_only`."""
        if create_only and not self._link(name):
            # A file system without hard links: hold the name with an empty file instead.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o600, dir_fd=self._directory))
        elif create_only:
            return
        os.rename(self.name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _link(self, name: bytes) -> bool:
        directory = self._directory
        try:
            os.link(self.name, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                return False
            raise
        return True


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


class Survey:
    """What one pass over a file tells: size, hash, lines, and where a range of lines lies."""

    def __init__(
        self, start_line: int = 1, end_line: int | None = None, *, whole: bool = True
    ) -> None:
        self._hash = sha256() if whole else None
        self._before = start_line - 1
        self._through = end_line
        self._newlines = 0
        self._last = b"\n"
        self.size = 0
        self.begin: int | None = 0 if start_line == 1 else None
        self.end: int | None = None

    @property
    def sha256(self) -> str | None:
        """The hash of everything fed; None when not the whole file is looked at."""
        return None if self._hash is None else self._hash.hexdigest()

    @property
    def total_lines(self) -> int | None:
        """Lines; a last one without newline counts. None when not the whole file is looked at."""
        return None if self._hash is None else self._newlines + (self._last != b"\n")

    def is_done(self, limit: int | None) -> bool:
        """Say whether so much is known of the range that the rest of the file does not matter."""
        if self._hash is not None or self.begin is None:
            return False
        enough = limit is not None and self.size > self.begin + limit
        return self._through is None or self.end is not None or enough

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the file."""
        newlines = chunk.count(b"\n")
        if self.begin is None:
            self.begin = self._offset_after(chunk, newlines, self._before)
        if self.end is None and self._through is not None:
            self.end = self._offset_after(chunk, newlines, self._through)
        if self._hash is not None:
            self._hash.update(chunk)
        self._newlines += newlines
        self._last = chunk[-1:]
        self.size += len(chunk)

    def _offset_after(self, chunk: bytes, newlines: int, wanted: int) -> int | None:
        if not self._newlines < wanted <= self._newlines + newlines:
            return None
        position = -1
        for _ in range(wanted - self._newlines):
            position = chunk.find(b"\n", position + 1)
        return self.size + position + 1


class Files:
    """The file operations. Each gives way to other tasks between chunks."""

    def __init__(
        self,
        scheduler: Scheduler,
        workspace: Workspace,
        meter: Callable[[int], None],
        to_disk: Callable[[list[int]], Awaitable[None]],
    ) -> None:
        self._workspace = workspace
        self._locks = Locks(scheduler)
        self._meter = meter
        self._to_disk = to_disk
        self._drafts: set[bytes] = set()

    async def sweep(self) -> None:
        """Delete the drafts of an earlier worker on these files: it was killed while it wrote."""
        waiting = [self._workspace.root]
        while waiting:
            folder = waiting.pop()
            with contextlib.suppress(OSError), os.scandir(folder) as entries:
                for number, entry in enumerate(entries):
                    name = os.fsencode(entry.name)
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(folder + b"/" + name)
                    elif is_draft(name) and name not in self._drafts:
                        os.unlink(folder + b"/" + name)  # noqa: PTH108
                    if number % 256 == 255:
                        await turn()
            await turn()

    async def ls(self, request: Request) -> None:
        """List a directory, sorted by the names on the path."""
        fields = await request.fields()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        depth = fields.integer("depth", 1, 32, 1)
        limit = fields.integer("limit", 1, 10_000, 1000)
        cursor = fields.optional_text("cursor", limit=MAX_PATH)
        fields.close()
        base = self._workspace.split(path)
        after = [] if cursor is None else self._workspace.split(cursor)
        if after and (after[: len(base)] != base or len(after) == len(base)):
            raise WorkerError("invalid_request", "cursor is not below path.")
        prefix = b"/".join([self._workspace.root.rstrip(b"/"), *base])
        listing = Listing(limit)
        fd = self._workspace.open_directory(path)
        await listing.walk(fd, prefix, depth, after[len(base) :])
        entries = listing.entries[:limit]
        truncated = len(listing.entries) > limit
        answer = {"entries": entries, "truncated": truncated}
        await request.answer({**answer, "cursor": entries[-1]["path"] if truncated else None})

    async def read(self, request: Request) -> None:
        """Send a file or a range of it; the header says what the whole file is."""
        fields = await request.fields()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        offset = fields.optional_integer("offset", 0, 1 << 62)
        limit = fields.optional_integer("limit", 0, 1 << 62)
        start_line = fields.optional_integer("start_line", 1, 1 << 62)
        end_line = fields.optional_integer("end_line", 1, 1 << 62)
        fields.close()
        if offset is not None and (start_line or end_line):
            raise WorkerError("invalid_request", "Give lines or an offset, not both.")
        fd = self._workspace.open_file(path)
        try:
            source = Source(fd)
            size = os.fstat(fd).st_size
            survey = Survey(start_line or 1, end_line, whole=size <= MAX_SURVEYED_BYTES)
            await self._survey(source, survey, request.connection, limit)
            size = size if survey.sha256 is None else survey.size
            begin = size if survey.begin is None else survey.begin
            begin = min(size, begin if offset is None else offset)
            stop = end = max(begin, size if survey.end is None else survey.end)
            if limit is not None:
                stop = min(end, begin + limit)
            meta = {"size": size, "sha256": survey.sha256, "total_lines": survey.total_lines}
            meta["truncated"] = stop < end
            await self._send_range(request, source, meta, begin, stop)
        finally:
            os.close(fd)

    async def write(self, request: Request) -> None:
        """Write a file whole, or append to it."""
        fields = request.meta()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        order = WriteOrder(path, fields)
        with self._workspace.resolve(path, make_parents=True) as place:
            order.check(place)
            action = self._append if order.append else self._write_whole
            await request.answer(await action(request, place, order))

    async def replace(self, request: Request) -> None:
        """Replace exact bytes, streaming, so that a large file does not become large memory."""
        fields = await request.fields()
        request.subject = path = fields.text("path", limit=MAX_PATH)
        old, new = (_utf8(fields.text(name), name) for name in ("old", "new"))
        every = fields.flag("replace_all")
        if_sha256 = fields.optional_text("if_sha256", limit=64)
        fields.close()
        if not old:
            raise WorkerError("invalid_request", "old must not be empty.")
        with self._workspace.resolve_existing(path) as place:
            replacement = Replacement(old, new, every)
            async with self._locks.held(place.key(), request.connection):
                answer = await self._replace(request, place, replacement, if_sha256)
        await request.answer(answer)

    async def _replace(
        self, request: Request, place: Place, replacement: Replacement, if_sha256: str | None
    ) -> dict[str, Any]:
        path = request.subject
        if place.refresh(path) is None:
            raise WorkerError("file_not_found", f"{path} does not exist.")
        fd = self._workspace.open_place(place, path)
        try:
            info = os.fstat(fd)
            check_writable(place, path)
            if info.st_size > MAX_REPLACE_BYTES:
                raise WorkerError(
                    "file_too_large",
                    f"{path} has {info.st_size} bytes, and replace takes {MAX_REPLACE_BYTES} at "
                    "most; change it with a command, for example sed -i.",
                )
            with Draft(place.directory, self._drafts) as draft:
                draft.meter = self._meter
                survey = Survey()
                for chunk in Source(fd).chunks():
                    survey.feed(chunk)
                    replacement.feed(chunk, draft)
                    await request.connection.turn()
                replacement.close(draft)
                check_hash(if_sha256, survey.sha256, path)
                replacement.check(path)
                os.fchmod(draft.fd, stat.S_IMODE(info.st_mode))
                request.connection.check_present()
                draft.place(place.name)
                size, digest = draft.size, draft.sha256
        finally:
            os.close(fd)
        return {"replacements": replacement.count, "size": size, "sha256": digest}

    async def _write_whole(
        self, request: Request, place: Place, order: WriteOrder
    ) -> dict[str, Any]:
        sync = Sync(self._workspace, self._to_disk if order.sync else None)
        with Draft(place.directory, self._drafts) as draft:
            while piece := await request.body.read():
                draft.write(piece)
                await sync.wrote(draft.fd, len(piece))
                await turn()
            held = self._locks.held(place.key(), request.connection)
            async with held, sync.names(place.directory):
                before = place.refresh(order.path)
                order.check(place)
                await self._check_precondition(request, place, order)
                mode = 0o644 if before is None else stat.S_IMODE(before.st_mode)
                os.fchmod(draft.fd, mode if order.mode is None else order.mode)
                await sync.file(draft.fd)
                request.connection.check_present()
                draft.place(place.name, create_only=order.create_only)
            return {"size": draft.size, "sha256": draft.sha256, "created": before is None}

    async def _append(self, request: Request, place: Place, order: WriteOrder) -> dict[str, Any]:
        """Collect the body first: a client that breaks off must leave the file as it was."""
        head = bytearray()
        while len(head) < CHUNK and (piece := await request.body.read()):
            head += piece
        if request.body.finished:
            return await self._append_staged(request, [bytes(head)], place, order)
        with Draft(place.directory, self._drafts) as draft:
            draft.write(bytes(head))
            while piece := await request.body.read():
                draft.write(piece)
                await turn()
            return await self._append_staged(request, Source(draft.fd).chunks(), place, order)

    async def _append_staged(
        self, request: Request, chunks: Iterable[bytes], place: Place, order: WriteOrder
    ) -> dict[str, Any]:
        sync = Sync(self._workspace, self._to_disk if order.sync else None)
        held = self._locks.held(place.key(), request.connection)
        async with held, sync.names(place.directory):
            before = place.refresh(order.path)
            order.check(place)
            await self._check_precondition(request, place, order)
            request.connection.check_present()
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | OPEN_FILE
            fd = os.open(place.name, flags, 0o644, dir_fd=place.directory)
            try:
                check_regular(os.fstat(fd), order.path)
                await self._append_chunks(fd, chunks, place, order, sync)
                size = os.fstat(fd).st_size
                survey = Survey(whole=size <= MAX_SURVEYED_BYTES)
                await self._survey(Source(fd), survey, request.connection)
            finally:
                os.close(fd)
        return {"size": size, "sha256": survey.sha256, "created": before is None}

    @staticmethod
    async def _append_chunks(
        fd: int, chunks: Iterable[bytes], place: Place, order: WriteOrder, sync: Sync
    ) -> None:
        """Add all of it, whoever leaves from here on; what cannot be added whole is taken back."""
        size = os.fstat(fd).st_size
        try:
            for chunk in chunks:
                write_all(fd, chunk)
                await sync.wrote(fd, len(chunk))
                await turn()
            if order.mode is not None:
                os.fchmod(fd, order.mode)
            await sync.file(fd)
        except BaseException:
            os.ftruncate(fd, size)
            if place.info is None:
                os.unlink(place.name, dir_fd=place.directory)
            raise

    async def _check_precondition(self, request: Request, place: Place, order: WriteOrder) -> None:
        if order.if_sha256 is None:
            return
        if place.info is None:
            raise WorkerError("content_changed", f"{order.path} does not exist any more.")
        fd = self._workspace.open_place(place, order.path)
        try:
            survey = Survey()
            await self._survey(Source(fd), survey, request.connection)
        finally:
            os.close(fd)
        check_hash(order.if_sha256, survey.sha256, order.path)

    @staticmethod
    async def _survey(
        source: Source, survey: Survey, connection: Connection, limit: int | None = None
    ) -> None:
        chunks = source.chunks()
        until = time.monotonic() + SURVEY_SECONDS
        while not survey.is_done(limit) and (chunk := next(chunks, b"")):
            survey.feed(chunk)
            await connection.turn()
            if time.monotonic() > until:
                raise WorkerError(
                    "file_too_large",
                    f"What was asked for is not known after {survey.size} bytes of the file. Give "
                    "an offset, or use a command, for example sed -n or sha256sum.",
                )

    @staticmethod
    async def _send_range(
        request: Request, source: Source, meta: dict[str, Any], begin: int, stop: int
    ) -> None:
        headers = (
            f"content-type: application/octet-stream\r\ncontent-length: {stop - begin}\r\n"
            f"x-meta: {json.dumps(meta)}\r\n"
        )
        head = request.head(200, headers)
        while begin < stop:
            chunk = source.at(begin, min(CHUNK, stop - begin))
            if not chunk:
                # The file shrank: a short body tells the client, a filled one would lie.
                raise ConnectionLost
            await request.connection.send(head + chunk)
            head = b""
            begin += len(chunk)
            await turn()
        await request.connection.send(head)


class Source:
    """An open file by offset; a small one is read once, so that hash and bytes belong together."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        data = os.pread(fd, CHUNK, 0)
        while 0 < len(data) < CHUNK:
            more = os.pread(fd, CHUNK - len(data), len(data))
            if not more:
                break
            data += more
        self._whole = data if len(data) < CHUNK else None

    def at(self, offset: int, size: int) -> bytes:
        """Return up to `size` bytes from `offset`."""
        if self._whole is not None:
            return self._whole[offset : offset + size]
        return os.pread(self._fd, size, offset)

    def chunks(self) -> Iterator[bytes]:
        """Give the whole file in pieces."""
        offset = 0
        while chunk := self.at(offset, CHUNK):
            yield chunk
            offset += len(chunk)


class Replacement:
    """Finds `old` in a stream, leftmost first and without overlap, and writes `new` instead."""

    def __init__(self, old: bytes, new: bytes, every: bool) -> None:
        self._old = old
        self._new = new
        self._every = every
        self._rest = b""
        self._has_crlf = False
        self.count = 0

    def feed(self, chunk: bytes, draft: Draft) -> None:
        """Take the next bytes; those that may begin an `old` are held back."""
        data = self._rest + chunk
        self._has_crlf = self._has_crlf or b"\r\n" in data
        position = self._take(data, draft)
        cut = max(position, len(data) - len(self._old) + 1)
        self._write(data[position:cut], draft)
        self._rest = data[cut:]

    def close(self, draft: Draft) -> None:
        """Write what was held back."""
        self._write(self._rest, draft)

    def check(self, path: str) -> None:
        """Refuse unless there was one, or any number for `replace_all`."""
        if self.count == 0:
            told = f"old does not occur in {path}; read it again."
            if b"\n" in self._old and self._has_crlf != (b"\r\n" in self._old):
                ends = "\\r\\n" if self._has_crlf else "\\n"
                told += f" Its lines end with {ends}: write them so in old and new."
            raise WorkerError("text_not_found", told)
        if self.count > 1 and not self._every:
            raise WorkerError(
                "text_not_unique",
                f"old occurs {self.count} times in {path}; give more context or replace_all.",
            )

    def _take(self, data: bytes, draft: Draft) -> int:
        position = 0
        while (found := data.find(self._old, position)) >= 0:
            self.count += 1
            self._write(data[position:found], draft)
            self._write(self._new, draft)
            position = found + len(self._old)
        return position

    def _write(self, data: bytes, draft: Draft) -> None:
        if data and (self._every or self.count < 2):
            draft.write(data)


class WriteOrder:
    """What a write request asks for besides its bytes."""

    def __init__(self, path: str, fields: Fields) -> None:
        self.path = path
        self.append = fields.flag("append")
        self.create_only = fields.flag("create_only")
        self.sync = fields.flag("sync")
        self.if_sha256 = fields.optional_text("if_sha256", limit=64)
        mode = fields.optional_text("mode", limit=5)
        fields.close()
        if mode is not None and (not 3 <= len(mode) <= 4 or mode.strip("01234567")):
            raise WorkerError("invalid_request", "mode must be octal, like 0644.")
        self.mode = None if mode is None else int(mode, 8) & 0o777
        if self.create_only and (self.append or self.if_sha256 is not None):
            raise WorkerError("invalid_request", "create_only goes with neither of the others.")

    def check(self, place: Place) -> None:
        """Refuse what cannot be written, before and after the bytes have come."""
        if place.name == b".":
            raise WorkerError("is_a_directory", f"{self.path} is a directory, not a file.")
        if place.info is None:
            return
        check_regular(place.info, self.path)
        if self.create_only:
            raise WorkerError("file_exists", f"{self.path} is there already.")
        check_writable(place, self.path)


def check_writable(place: Place, path: str) -> None:
    """Refuse a read-only file, which a rename would replace all the same."""
    if not os.access(place.name, os.W_OK, dir_fd=place.directory, effective_ids=True):
        if place.refresh(path) is None:
            raise path_changed(path)
        raise WorkerError("permission_denied", f"{path} is read-only; change its mode first.")


def check_hash(wanted: str | None, found: str | None, path: str) -> None:
    """Refuse when the content is not the one the caller knows."""
    if wanted is not None and wanted.lower() != found:
        raise WorkerError("content_changed", f"{path} has changed ({found} now); read it again.")


def _utf8(text: str, name: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError:
        raise WorkerError("invalid_request", f"{name} has a lone surrogate.") from None


class Listing:
    """Collects directory entries in order, at most one more than the limit."""

    def __init__(self, limit: int) -> None:
        self._wanted = limit + 1
        self.entries: list[dict[str, Any]] = []

    async def walk(self, fd: int, prefix: bytes, depth: int, after: list[bytes]) -> None:
        """Collect a directory whose descriptor this takes over, from behind `after`."""
        try:
            for name in await self._names(fd, after[0] if after else b""):
                resumed = bool(after) and name == after[0]
                info = self._look(fd, name)
                if info is None:
                    continue
                if not resumed:
                    self.entries.append(self._entry(prefix + b"/" + name, info))
                if depth > 1 and stat.S_ISDIR(info.st_mode) and len(self.entries) < self._wanted:
                    rest = after[1:] if resumed else []
                    await self._descend(fd, name, prefix + b"/" + name, depth - 1, rest)
                if len(self.entries) >= self._wanted:
                    return
        finally:
            os.close(fd)

    async def _descend(
        self, fd: int, name: bytes, prefix: bytes, depth: int, after: list[bytes]
    ) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            below = os.open(name, flags, dir_fd=fd)
        except OSError:
            return
        await self.walk(below, prefix, depth, after)

    async def _names(self, fd: int, start: bytes) -> list[bytes]:
        """Return the smallest names from `start` on, holding few of a huge directory at a time."""
        names: list[bytes] = []
        with os.scandir(fd) as entries:
            for number, entry in enumerate(entries):
                name = os.fsencode(entry.name)
                if name >= start and not is_draft(name):
                    names.append(name)
                if len(names) > 2 * self._wanted + 1024:
                    names = sorted(names)[: self._wanted + 1]
                if number % 1024 == 1023:
                    await turn()
        return sorted(names)[: self._wanted + 1]

    @staticmethod
    def _look(fd: int, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None

    @staticmethod
    def _entry(path: bytes, info: os.stat_result) -> dict[str, Any]:
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
        return {
            "path": encode_path(path),
            "type": kinds.get(stat.S_IFMT(info.st_mode), "other"),
            "size": info.st_size,
            "mode": f"{stat.S_IMODE(info.st_mode):04o}",
            "mtime_ms": info.st_mtime_ns // 1_000_000,
        }


# --- disk --------------------------------------------------------------------------------------


class Folder:
    """A folder to count. One that its owner has closed to himself is opened meanwhile.

    Else anybody could hide there how much he takes.
    """

    def __init__(self, path: bytes, info: os.stat_result | None = None) -> None:
        self.path = path
        self._mode = 0o700 if info is None else stat.S_IMODE(info.st_mode)
        self.is_closed = self._mode & 0o500 != 0o500
        self.is_open = False

    def open(self) -> None:
        """Give the owner access; what is not ours stays as it is."""
        self.is_open = True
        self._change(self._mode, self._mode | stat.S_IRWXU)

    def close(self) -> None:
        """Take the access back, unless somebody has set another mode."""
        self._change(self._mode | stat.S_IRWXU, self._mode)

    def _change(self, before: int, after: int) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self.path, OPEN_DIRECTORY)
            try:
                if stat.S_IMODE(os.fstat(fd).st_mode) == before:
                    os.chmod(f"/proc/self/fd/{fd}", after)  # noqa: PTH101 - no link is followed
            finally:
                os.close(fd)


class Disk:
    """How much a folder takes on its disk, and that what fills it stops.

    A look is one statfs: as long as everybody together has not written what is left to us, nor have
    we, and nothing is counted. What a walk cannot see (below a directory of somebody else, or far too
    deep) is not counted.

    Args:
        limit: Bytes that the folder may take; 0 for any number.
        floor: Bytes that stay free on the disk, as far as it is up to us.
    """

    def __init__(self, scheduler: Scheduler, folder: bytes, limit: int, floor: int = 0) -> None:
        self.busy = Condition(scheduler)
        self._root = folder
        self._limit = limit
        self._floor = floor
        self._used = 0
        self._free = 0
        self._growth = 0  # by how much everybody together has filled the disk since the last walk
        self._walked = float("-inf")
        self._rested = 0.0  # when the next walk may begin, so that walks do not take all our time
        self._walking = False
        self._written_low = 0  # by us, since the disk came down to its floor
        self._grown = 0  # in need, since it was last stopped: a little may be written to clean up

    async def watch(self, commands: Commands) -> None:
        """Stop what writes too much, for ever."""
        if not self._limit and not self._floor:
            return
        growth = 0
        while True:
            if commands.running or self._growth > growth:
                await sleep(self._pause())
            else:
                await self.busy.wait(time.monotonic() + DISK_CALM_SECONDS)
            growth = self._growth
            # Without a descriptor just now it looks again later; it must not end for that.
            with contextlib.suppress(OSError):
                if await self._is_too_much():
                    await commands.stop_all("disk_limit")

    def _pause(self) -> float:
        left = self._free - self._floor
        if self._limit:
            left = min(left, self._limit - self._used - self._growth)
        return min(DISK_LOOK_SECONDS, max(DISK_SHORTEST_SECONDS, left / DISK_FASTEST))

    async def check(self, expected: int) -> None:
        """Refuse to write when there is no room for `expected` bytes."""
        self._look()
        if self._limit and self._used + self._growth + expected >= self._limit:
            await self._walk()
        self.take(0, expected)

    def take(self, size: int, expected: int = 0) -> None:
        """Note that a caller writes so many bytes, or refuse."""
        if self._limit and self._used + size + expected > self._limit:
            raise WorkerError(
                "disk_full",
                f"The workspace takes {self._used // 1024**2} MB and may take "
                f"{self._limit // 1024**2} MB. Delete files (rm, in a command) and try again.",
            )
        self._used += size
        if self._floor and self._look() < self._floor:
            self._written_low += size
            if self._written_low > DISK_GROWTH:
                raise WorkerError(
                    "disk_full",
                    "The disk of all sandboxes is nearly full. Delete files (rm, in a command), or "
                    "release sandboxes, and try again.",
                )

    async def _is_too_much(self) -> bool:
        """Look; whether the folder is over its limit, or the disk below its floor, and it grows."""
        if self._walked < 0:
            await self._walk()
        low = self._look() < self._floor
        growth = self._growth
        if not low:
            self._written_low = 0
        due = growth > 0 and time.monotonic() - self._walked > DISK_WALK_SECONDS
        over = self._limit and self._used + growth >= self._limit
        if not (due or ((over or low) and growth > 0)) or time.monotonic() < self._rested:
            return False
        before = self._used
        await self._walk()
        grown = max(0, self._used - before)
        over = bool(self._limit) and self._used >= self._limit
        if low:
            self._written_low += grown
        self._grown = self._grown + grown if over or low else 0
        crossed = over and before < self._limit <= before + grown
        if not crossed and self._grown <= DISK_GROWTH:
            return False
        self._grown = 0
        return True

    def _look(self) -> int:
        """Return the free bytes of the disk. What somebody deletes says nothing of what we wrote."""
        found = os.statvfs(self._root)
        free = found.f_bavail * found.f_frsize
        self._growth += max(0, self._free - free)
        self._free = free
        return free

    async def _walk(self) -> None:
        """Count the bytes of all files, giving way to others."""
        if self._walking:
            while self._walking:
                await sleep(DISK_SLICE_SECONDS)
            return
        self._walking = True
        try:
            began = time.monotonic()
            self._look()
            self._growth = 0
            self._used = await self._count()
            self._walked = time.monotonic()
            self._rested = self._walked + 2 * (self._walked - began)
        finally:
            self._walking = False

    async def _count(self) -> int:
        seen: set[int] = set()
        total = self._count_unnamed(seen)
        folders = [Folder(self._root)]
        until = time.monotonic() + DISK_SLICE_SECONDS
        entries = 0
        while folders:
            folder = folders.pop()
            if folder.is_open:
                folder.close()
            if folder.is_open or entries >= DISK_ENTRIES:
                continue
            if folder.is_closed:
                folder.open()
                folders.append(folder)  # closed again when all below it is counted
            for info, path in self._entries(folder.path):
                entries += 1
                if info.st_nlink == 1 or info.st_ino not in seen:
                    total += info.st_blocks * 512
                if stat.S_ISDIR(info.st_mode):
                    folders.append(Folder(path, info))
                elif info.st_nlink > 1:
                    seen.add(info.st_ino)
                if entries % 64 == 0 and time.monotonic() > until:
                    await sleep(DISK_SLICE_SECONDS)
                    until = time.monotonic() + DISK_SLICE_SECONDS
        return total

    @staticmethod
    def _entries(folder: bytes) -> Iterator[tuple[os.stat_result, bytes]]:
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        yield entry.stat(follow_symlinks=False), entry.path
        except OSError:
            return  # deleted meanwhile, or closed to us

    def _count_unnamed(self, seen: set[int]) -> int:
        """Count files that were deleted and are still open: they take space like any other."""
        total = 0
        device = os.stat(self._root).st_dev  # noqa: PTH116 - nothing of pathlib here
        for pid in read_processes():
            for info, _ in self._open_files(pid):
                unnamed = info.st_nlink == 0 and stat.S_ISREG(info.st_mode)
                if unnamed and info.st_dev == device and info.st_ino not in seen:
                    seen.add(info.st_ino)
                    total += info.st_blocks * 512
        return total

    @staticmethod
    def _open_files(pid: int) -> Iterator[tuple[os.stat_result, str]]:
        try:
            with os.scandir(f"/proc/{pid}/fd") as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        yield entry.stat(), entry.path
        except OSError:
            return


# --- processes ---------------------------------------------------------------------------------


class Process:
    """A line of /proc: parent, and when it began (which tells a reused number apart)."""

    __slots__ = ("alive", "begin", "name", "parent", "threads")

    def __init__(self, line: bytes) -> None:
        end = line.rindex(b")")
        fields = line[end + 2 :].split()
        self.name = line[line.index(b"(") + 1 : end]
        self.alive = fields[0] not in (b"Z", b"X")
        self.parent = int(fields[1])
        self.threads = int(fields[17])
        self.begin = int(fields[19])


def read_process(pid: int) -> Process | None:
    """Return what /proc says of a process; None when it is gone."""
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return Process(os.read(fd, 1024))
        finally:
            os.close(fd)
    except (OSError, ValueError, IndexError):
        return None


def read_processes() -> dict[int, Process]:
    """Return every process that can be seen, by number."""
    numbers = [int(entry.name) for entry in os.scandir("/proc") if entry.name.isdigit()]
    found = {number: read_process(number) for number in numbers}
    return {number: process for number, process in found.items() if process is not None}


def descendants(processes: dict[int, Process], root: int, spared: set[int]) -> list[int]:
    """Return the live processes below `root`, without the spared ones and what is below those."""
    children: dict[int, list[int]] = {}
    for pid, process in processes.items():
        children.setdefault(process.parent, []).append(pid)
    found = []
    todo = [root]
    while todo:
        for pid in children.get(todo.pop(), ()):
            if pid not in spared:
                todo.append(pid)
                if processes[pid].alive:
                    found.append(pid)
    return found


def send_signal(pids: Iterable[int], *numbers: int) -> None:
    """Send signals to processes, some of which may be gone."""
    for pid in pids:
        for number in numbers:
            try:
                os.kill(pid, number)
            except OSError:
                break


def freeze(targets: Callable[[], list[int]]) -> bool:
    """Stop processes until no new ones appear: what is stopped cannot fork away from a kill.

    Gives True when everything in the sandbox was stopped for it, which `thaw` takes back.
    """
    seen: set[int] = set()
    for turns in range(32):
        new = [pid for pid in targets() if pid not in seen]
        if not new:
            return False
        if turns and stop_everything():
            return True
        send_signal(new, signal.SIGSTOP)
        seen.update(new)
    return False


def stop_everything() -> bool:
    """Stop every process but this one in one call, which no fork slips past; only PID 1 can.

    Looking for those that fork faster than we can look took as long as it pleased them.
    """
    if os.getpid() != 1:
        return False
    send_signal((-1,), signal.SIGSTOP)
    return True


def thaw() -> None:
    """Let everything run on, also what was stopped on purpose: the kernel does not tell them apart."""
    if os.getpid() == 1:
        send_signal((-1,), signal.SIGCONT)


class Capture:
    """Keeps the head and the tail of a stream and counts the rest.

    Args:
        least_tail: How many of the last bytes are kept even when half the limit is less.
    """

    def __init__(self, limit: int, least_tail: int = 0) -> None:
        self._head_limit = (limit + 1) // 2
        self._ring_limit = max(limit - self._head_limit, least_tail)
        self._head = bytearray()
        self._ring = bytearray()
        self._start = 0
        self.total = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self.total += len(data)
        room = self._head_limit - len(self._head)
        if room > 0:
            self._head += data[:room]
            data = data[room:]
        room = self._ring_limit - len(self._ring)
        if room > 0:
            self._ring += data[:room]
            data = data[room:]
        if data and self._ring_limit:
            self._overwrite(data)

    def _overwrite(self, data: bytes) -> None:
        limit = self._ring_limit
        skipped = max(0, len(data) - limit)
        start = (self._start + skipped) % limit
        data = data[skipped:]
        first = data[: limit - start]
        self._ring[start : start + len(first)] = first
        rest = data[len(first) :]
        self._ring[: len(rest)] = rest
        self._start = (start + len(data)) % limit

    @property
    def kept(self) -> int:
        """How many bytes are held."""
        return len(self._head) + len(self._ring)

    def parts(self) -> tuple[memoryview, memoryview]:
        """Return head and tail."""
        if self._start:
            self._ring = self._ring[self._start :] + self._ring[: self._start]
            self._start = 0
        return memoryview(self._head), memoryview(self._ring)


# --- commands ----------------------------------------------------------------------------------


class CommandSpec:
    """What an execute request asks for.

    Args:
        live: The header that says how much of each output goes into a stream; a worker of before
            it, which refuses fields that it does not know, leaves it alone.
    """

    def __init__(self, fields: Fields, live: str | None = None) -> None:
        self.command = self._command(fields.raw("command"))
        self.cwd = fields.optional_text("cwd", limit=MAX_PATH)
        self.env = self._env(fields.raw("env"))
        self.stdin = self._stdin(fields)
        self.timeout_ms = fields.integer("timeout_ms", 1, 86_400_000)
        self.grace_ms = fields.integer("grace_ms", 0, 600_000, 1000)
        self.max_output_bytes = fields.integer("max_output_bytes", 1, MAX_OUTPUT_BYTES)
        self.request_id = fields.optional_text("request_id", limit=128)
        self.stream = fields.flag("stream")
        fields.close()
        if live is not None and not (live.isascii() and live.isdigit() and len(live) <= 18):
            raise WorkerError("invalid_request", "x-live-bytes must be a number.")
        self.live_bytes = self.max_output_bytes if live is None else int(live)
        self.least_tail = TAIL_BYTES if self.stream and live is not None else 0

    def fingerprint(self) -> bytes:
        """Return what makes two requests under one id the same."""
        values: list[Any] = [self.command, self.cwd, sorted(self.env.items())]
        values += [self.timeout_ms, self.grace_ms, self.max_output_bytes]
        stdin = b"-" if self.stdin is None else b"+" + self.stdin
        return sha256(_encode(values) + b"\n" + stdin).digest()

    @staticmethod
    def _stdin(fields: Fields) -> bytes | None:
        text = fields.optional_text("stdin")
        encoding = fields.text("stdin_encoding", "utf-8", limit=16)
        if encoding not in ("utf-8", "base64"):
            raise WorkerError("invalid_request", "stdin_encoding must be utf-8 or base64.")
        if text is None or encoding == "utf-8":
            return None if text is None else _utf8(text, "stdin")
        try:
            return binascii.a2b_base64(_utf8(text, "stdin"))
        except binascii.Error:
            raise WorkerError("invalid_request", "stdin is not valid base64.") from None

    @staticmethod
    def _command(value: object) -> str | list[str]:
        parts = [value] if isinstance(value, str) else value
        if not isinstance(parts, list) or not parts or not parts[0]:
            raise WorkerError("invalid_request", "command must be text or a list of texts.")
        for part in parts:
            if not isinstance(part, str) or "\0" in part:
                raise WorkerError("invalid_request", "command must be text without NUL.")
            _utf8(part, "command")
        return parts[0] if isinstance(value, str) else parts

    @staticmethod
    def _env(value: object) -> dict[str, str]:
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise WorkerError("invalid_request", "env must be an object of texts.")
        for name, text in value.items():
            if not name or "=" in name or "\0" in name:
                raise WorkerError("invalid_request", f"env has the impossible name {name!r}.")
            if not isinstance(text, str) or "\0" in text:
                raise WorkerError("invalid_request", f"env {name} must be text without NUL.")
            _utf8(name + text, "env")
        return value


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


class Pipes:
    """The descriptors between PID 1 (reads), the monitor (writes messages) and the command."""

    def __init__(self) -> None:
        self.fds: list[int] = []
        try:
            for _ in range(3):
                self.fds += os.pipe2(os.O_CLOEXEC)
        except OSError:
            self.close()
            raise
        self.stdout, self.stdout_end, self.stderr, self.stderr_end, self.messages, self.channel = (
            self.fds
        )

    def close(self) -> None:
        """Close all of them."""
        for fd in self.fds:
            os.close(fd)

    def keep_reading_ends(self) -> None:
        """Close the ends that belong to the child, and make ours non-blocking."""
        for fd in (self.stdout_end, self.stderr_end, self.channel):
            os.close(fd)
        for fd in (self.stdout, self.stderr, self.messages):
            os.set_blocking(fd, False)


class Job:
    """What a monitor needs to start a command; can be sent to one that was forked before."""

    def __init__(self, arguments: list[bytes], env: dict[bytes, bytes], fds: list[int]) -> None:
        self.arguments = arguments
        self.env = env
        self.fds = fds
        self.cwd, self.channel, self.stdin, self.stdout, self.stderr, *script = fds
        self.script = script[0] if script else -1

    def pack(self) -> bytes:
        """Return arguments and environment as bytes."""
        return marshal.dumps((self.arguments, self.env))

    @classmethod
    def receive(cls, sock: socket.socket) -> Self:
        """Wait for a job; raises OSError when none will come."""
        data, fds, _, _ = socket.recv_fds(sock, MAX_JOB_BYTES, 6)
        for fd in fds:
            os.set_inheritable(fd, False)
        if not data:
            raise ConnectionResetError
        arguments, env = marshal.loads(data)  # noqa: S302 - from our own parent
        return cls(arguments, env, list(fds))


class Spare:
    """A monitor forked before it is needed, so that a command waits for one fork less."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._socket = sock

    def give(self, job: Job) -> bool:
        """Hand it a job; False when it is too large, or the spare is gone."""
        data = job.pack()
        try:
            return len(data) < MAX_JOB_BYTES and socket.send_fds(
                self._socket, [data], job.fds
            ) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it: given a job it works on, without one it ends."""
        self._socket.close()


def run_monitor(receive: Callable[[], Job]) -> NoReturn:
    """Be the parent of one command: start it, tell how it ended, collect what it leaves behind.

    As subreaper it keeps every descendant below itself, whatever that does with sessions and
    double forks, so PID 1 can find and kill them. It ends when none is left.
    """
    status = 1
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        set_process_name(b"sandbox-monitor")
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        # PID 1 must get to work however many of them want to.
        os.setpriority(os.PRIO_PROCESS, 0, COMMAND_NICENESS)
        job = receive()
        pid = spawn_program(job)
        close_all_but(job.channel)
        if pid:
            watch_children(pid, job.channel)
        status = 0
    except BaseException:  # noqa: BLE001,S110 - a forked child must never run its parent's code
        pass
    finally:
        os._exit(status)


def run_sync(fds: list[int]) -> NoReturn:
    """Sync descriptors as a process of its own; it ends with the number of the error, 0 for none."""
    number = errno.EIO
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        set_process_name(b"sandbox-sync")
        signal.set_wakeup_fd(-1)
        for fd in fds:
            os.fsync(fd)
        number = 0
    except OSError as error:
        number = error.errno or number
    except BaseException:  # noqa: BLE001,S110 - a forked child must never run its parent's code
        pass
    finally:
        os._exit(number & 0xFF)


def close_all_but(*kept: int) -> None:
    """Close every descriptor except these: a copy held here would hide a closed connection."""
    start = 0
    for fd in sorted(kept):
        if fd > start:  # os.closerange(0, 0) closes everything where it calls close_range(2)
            os.closerange(start, fd)
        start = fd + 1
    os.closerange(start, MAX_OPEN_FILES)


def spawn_program(job: Job) -> int:
    """Start the command and say so; returns its number, 0 when it could not be started."""
    actions: list[Any] = [
        (os.POSIX_SPAWN_DUP2, job.stdin, 0),
        (os.POSIX_SPAWN_DUP2, job.stdout, 1),
        (os.POSIX_SPAWN_DUP2, job.stderr, 2),
    ]
    if job.script >= 0:
        actions.append((os.POSIX_SPAWN_DUP2, job.script, SCRIPT_FD))
    failure = errno.ENOENT
    try:
        os.fchdir(job.cwd)
    except OSError as error:
        os.write(job.channel, b"cwd %d\n" % (error.errno or 0))
        return 0
    for path in candidates(job.arguments[0], job.env):
        try:
            # A process group of its own: `kill 0` in a script must not hit the monitor.
            pid = os.posix_spawn(
                path,
                job.arguments,
                job.env,
                file_actions=actions,
                setpgroup=0,
                setsigmask=(),
                setsigdef=SETTABLE_SIGNALS,
            )
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR):
                failure = error.errno or 0
                if failure != errno.EACCES:
                    break
        else:
            os.write(job.channel, b"started %d\n" % pid)
            return pid
    os.write(job.channel, b"failed %d\n" % failure)
    return 0


def watch_children(command: int, channel: int) -> None:
    """Reap until no descendant is left, and report the command's own end."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            os.write(channel, b"alone 0\n")
            return
        if pid == command:
            os.write(channel, b"exit %d\n" % os.waitstatus_to_exitcode(status))


class Listener:
    """The caller that started a command, and takes its output while it comes.

    Who reads the command's pipes waits while this is full: a slow caller slows the command.

    Args:
        limit: How many bytes of stdout, and of stderr, are for it.
    """

    def __init__(self, limit: int) -> None:
        self._chunks: deque[bytes] = deque()
        self._queued = 0
        self._left = {"stdout": limit, "stderr": limit}

    @property
    def is_full(self) -> bool:
        """Whether what is read next might be too much."""
        return self._queued + 2 * READ_BYTES > MAX_LIVE_BYTES

    def put(self, name: str, data: bytes) -> None:
        """Queue output, as long as it is for this caller."""
        data = data[: self._left[name]]
        if self._queued + len(data) > MAX_LIVE_BYTES + 3 * MAX_PIPE_BYTES:
            # Nobody waits for a caller once the command has ended; background processes may
            # print on. The answer has how much there was.
            self._left[name] = 0
        elif data:
            self._left[name] -= len(data)
            self._chunks.append(http_chunk(_encode({name: _base64(data)}) + b"\n"))
            self._queued += len(self._chunks[-1])

    def take(self) -> bytes:
        """Return the oldest chunk, empty when there is none."""
        if not self._chunks:
            return b""
        chunk = self._chunks.popleft()
        self._queued -= len(chunk)
        return chunk


def http_chunk(data: bytes | bytearray) -> bytes:
    """Return a chunk of a chunked answer."""
    return b"".join((b"%x\r\n" % len(data), data, b"\r\n"))


class Answer:
    """How a command ended, with its output as bytes."""

    def __init__(self, fields: dict[str, Any], stdout: Capture, stderr: Capture) -> None:
        self._fields = fields
        self._streams = {"stdout": stdout, "stderr": stderr}
        self.size = 512 + stdout.kept + stderr.kept

    def pieces(self) -> Iterator[bytes]:
        """Give the last line of an execute answer, piece by piece as output may be long."""
        yield b'{"exit":' + _encode(self._fields)[:-1]
        for name, capture in self._streams.items():
            yield b',"%b":{"bytes":%d' % (name.encode("ascii"), capture.total)
            head, tail = capture.parts()
            for part, data in ((b"head", head), (b"tail", tail)):
                yield b',"%b":"' % part
                for start in range(0, len(data), ENCODED_AT_ONCE):
                    yield _base64(data[start : start + ENCODED_AT_ONCE]).encode("ascii")
                yield b'"'
            yield b"}"
        yield b"}}\n"

    async def send(self, connection: Connection, head: bytes) -> None:
        """Send `head` and the last line, then the end of the chunked body."""
        buffer = bytearray()
        for piece in self.pieces():
            buffer += piece
            if len(buffer) >= CHUNK:
                await connection.send(head + http_chunk(buffer))
                head = b""
                buffer.clear()
                await turn()
        await connection.send(head + http_chunk(buffer) + b"0\r\n\r\n")


def _base64(data: bytes | memoryview) -> str:
    return binascii.b2a_base64(data, newline=False).decode("ascii")


class Command:
    """One execute, from fork to answer."""

    def __init__(self, commands: Commands, spec: CommandSpec) -> None:
        self._commands = commands
        self.spec = spec
        self.changed = Condition(commands.scheduler)
        self.monitor = 0
        self.monitor_failed = False
        self.answer: Answer | None = None
        self.error: WorkerError | None = None
        self.listener = Listener(spec.live_bytes) if spec.stream else None
        self.shared = False
        self.started = False
        self._captures = {
            name: Capture(spec.max_output_bytes, spec.least_tail) for name in ("stdout", "stderr")
        }
        self._open_streams = 2
        self._messages_open = True
        self._alone = False
        self._are_ended = False
        self._exit_code: int | None = None
        self._stopped_for: str | None = None
        self._began = self._ended = time.monotonic()
        self._kills_before = commands.count_memory_kills()

    @property
    def finished(self) -> bool:
        """Whether there is an answer, or an error instead of one."""
        return self.answer is not None or self.error is not None

    def start(self, cwd: int, null: int, env: dict[bytes, bytes]) -> None:
        """Start it under a monitor; raises WorkerError when there is no process or memory."""
        fds: list[int] = []
        pipes = None
        try:
            pipes = Pipes()
            job = self._make_job(pipes, cwd, null, env, fds)
            self.monitor = self._commands.start_monitor(job)
        except OSError as error:
            if pipes is not None:
                pipes.close()
            raise NotStartedError(error.errno or 0) from None
        finally:
            for fd in fds:
                os.close(fd)
        pipes.keep_reading_ends()
        spawn = self._commands.scheduler.spawn
        spawn(self._read_messages(pipes.messages))
        spawn(self._read_output(pipes.stdout, "stdout"))
        spawn(self._read_output(pipes.stderr, "stderr"))
        spawn(self._supervise())

    def _make_job(
        self, pipes: Pipes, cwd: int, null: int, env: dict[bytes, bytes], fds: list[int]
    ) -> Job:
        """Return the job; what it opens for itself is added to `fds`."""
        spec = self.spec
        env = {**env, **{name.encode(): value.encode() for name, value in spec.env.items()}}
        stdin = null
        if spec.stdin:
            stdin = memory_file(spec.stdin)
            fds.append(stdin)
        given = [cwd, pipes.channel, stdin, pipes.stdout_end, pipes.stderr_end]
        if isinstance(spec.command, list):
            return Job([part.encode() for part in spec.command], env, given)
        script = spec.command.encode()
        if len(script) > MAX_SCRIPT_ARGUMENT:
            fds.append(memory_file(script))
            given.append(fds[-1])
        return Job(shell_arguments(script, env), env, given)

    def stop(self, reason: str) -> None:
        """Begin to end it for a reason, as if its time were over."""
        self._stopped_for = self._stopped_for or reason
        self.changed.notify()

    async def cancel(self) -> None:
        """End it and wait until it has ended."""
        self.stop("cancelled")
        while not self.finished:
            await self.changed.wait()

    def monitor_ended(self, status: int) -> None:
        """Take note that the monitor was reaped; a signal means that somebody killed it."""
        self.monitor = 0
        self.monitor_failed = status != 0
        self.changed.notify()

    async def _read_messages(self, fd: int) -> None:
        buffer = b""
        while True:
            try:
                data = os.read(fd, 4096)
            except BlockingIOError:
                await Wait(fd, select.EPOLLIN)
                continue
            if not data:
                break
            *lines, buffer = (buffer + data).split(b"\n")
            for line in lines:
                self._take_message(line)
            self.changed.notify()
        os.close(fd)
        self._messages_open = False
        self.changed.notify()

    def _take_message(self, line: bytes) -> None:
        kind, _, number = line.partition(b" ")
        value = int(number)
        if kind == b"started":
            self.started = True
        elif kind == b"exit":
            self._ended = time.monotonic()
            self._exit_code = 128 - value if value < 0 else value
        elif kind == b"alone":
            self._alone = True
        elif kind == b"cwd":
            self.error = from_os_error(OSError(value, ""), self.spec.cwd or "the workspace")
        else:
            self._take_failure(value)

    def _take_failure(self, number: int) -> None:
        if number in (errno.EAGAIN, errno.ENOMEM):
            self.error = NotStartedError(number)
            return
        self.started = True
        self._ended = time.monotonic()
        missing = number in (errno.ENOENT, errno.ENOTDIR)
        self._exit_code = 127 if missing else 126
        name = self.spec.command[0] if isinstance(self.spec.command, list) else "sh"
        text = f"cannot run {name[:500]!r}: {os.strerror(number)}\n"
        self._take_output("stderr", text.encode(errors="replace"))

    def leave(self) -> None:
        """Go on without the caller that took the output as it came."""
        self.listener = None
        self.changed.notify()

    @property
    def _waits(self) -> bool:
        """Whether the command has to wait for its caller; what has ended never does."""
        if self.listener is None or not self.listener.is_full:
            return False
        return self._exit_code is None and not self._are_ended

    async def _read_output(self, fd: int, name: str) -> None:
        while True:
            if self._waits:
                await self.changed.wait()
                continue
            try:
                data = os.read(fd, READ_BYTES)
            except BlockingIOError:
                await Wait(fd, select.EPOLLIN)
                continue
            if not data:
                break
            if self.finished:
                # A background process still prints: read slowly, so that it neither blocks
                # nor dies of SIGPIPE, nor keeps this process busy.
                await sleep(0.02)
            else:
                self._take_output(name, data)
                await turn()
        os.close(fd)
        self._open_streams -= 1
        self.changed.notify()

    def _take_output(self, name: str, data: bytes) -> None:
        self._captures[name].feed(data)
        if self.listener is not None:
            self.listener.put(name, data)
            self.changed.notify()

    async def _until(self, reached: Callable[[], bool], deadline: float) -> bool:
        while not reached():
            if time.monotonic() >= deadline:
                return False
            await self.changed.wait(deadline)
        return True

    async def _supervise(self) -> None:
        deadline = self._began + self.spec.timeout_ms / 1000
        in_time = await self._until(self._has_ended, deadline)
        if self.error is not None:
            reason = "not_started"
        elif self._exit_code is not None:
            reason = None
            await self._settle()
        else:
            reason = self._reason(in_time=in_time)
            grace = 0.0 if reason in AT_ONCE else self.spec.grace_ms / 1000
            await self._end_processes(grace)
        self._finish(reason)

    def _has_ended(self) -> bool:
        lost = self.monitor == 0 and self.monitor_failed and not self._messages_open
        ended = self._exit_code is not None or self.error is not None
        return ended or self._stopped_for is not None or lost

    def _reason(self, *, in_time: bool) -> str:
        if self._stopped_for is not None:
            return self._stopped_for
        return "monitor_killed" if in_time else "timeout"

    async def _settle(self) -> None:
        """Wait a moment for the output and for children that are just ending."""
        deadline = time.monotonic() + BACKGROUND_SECONDS
        if await self._until(lambda: self._open_streams == 0, deadline):
            deadline = min(deadline, time.monotonic() + EXITING_SECONDS)
            await self._until(lambda: self._alone or self.monitor == 0, deadline)

    async def _end_processes(self, grace: float) -> None:
        """TERM, grace, then STOP and KILL until no process of this command is left."""
        if grace:
            send_signal(self.processes(), signal.SIGTERM, signal.SIGCONT)
        deadline = time.monotonic() + grace
        while time.monotonic() < deadline and self.processes():
            if self._stopped_for in AT_ONCE:  # since; everything is stopped for that already
                break
            await self.changed.wait(min(deadline, time.monotonic() + 0.02))
        await self._commands.kill(self.processes)
        await self._until(lambda: self.monitor == 0, time.monotonic() + 0.5)
        if self.monitor:
            send_signal((self.monitor,), signal.SIGKILL)
        self._are_ended = True
        self.changed.notify()
        await self._until(lambda: self._open_streams == 0, time.monotonic() + BACKGROUND_SECONDS)

    def processes(self) -> list[int]:
        """Return the living processes of this command."""
        if self.monitor:
            return descendants(read_processes(), self.monitor, set())
        return self._commands.unowned() if self.monitor_failed else []

    def _finish(self, reason: str | None) -> None:
        below = self.monitor != 0 and not self._alone
        background = below or self._open_streams > 0
        if below:
            self._commands.let_go(self.monitor)
        if self.error is None:
            code = self._exit_code_for(reason)
            kills = max(0, self._commands.count_memory_kills() - self._kills_before)
            fields: dict[str, Any] = {
                "exit_code": code,
                "timed_out": reason == "timeout",
                "killed_by": self._killed_by(reason, code, kills),
                "oom_kills": kills,
                "duration_ms": int((max(self._ended, self._began) - self._began) * 1000),
                "background": background,
            }
            if ended := self._commands.take_ended():
                fields["ended"] = ended
            self.answer = Answer(fields, self._captures["stdout"], self._captures["stderr"])
        self._captures.clear()
        self._commands.finished(self)
        self.changed.notify()

    def _exit_code_for(self, reason: str | None) -> int:
        if reason is not None:
            self._ended = time.monotonic()
        if reason == "timeout":
            return 124
        return 137 if self._exit_code is None else self._exit_code

    def _killed_by(self, reason: str | None, code: int, kills: int) -> str | None:
        if reason not in (None, "monitor_killed") or code == 0:
            return reason
        # When another command ran beside, only a SIGKILL says whose memory it was.
        mine = code == 137 or not self.shared
        return "out_of_memory" if mine and kills else reason


class Commands:
    """The running commands, and every process that belongs to none of them."""

    def __init__(self, scheduler: Scheduler, workspace: Workspace, options: Options) -> None:
        self.scheduler = scheduler
        self.running: list[Command] = []
        self._workspace = workspace
        self._limit = options.max_commands
        self._memory_events = options.memory_events
        self._score = options.score
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._env = command_environment(options.workspace)
        self._monitors: dict[int, Command] = {}
        self._leaving: set[int] = set()
        self._background: dict[int, int] = {}
        self._spare: Spare | None = None
        self._syncs: dict[int, int | None] = {}  # exit codes, by process
        self._synced = Condition(scheduler)
        self._max_processes = options.max_processes
        self._making_room = False
        self._room_changed = Condition(scheduler)
        self._room_made = -PRESSED_SECONDS
        self._left_behind = False
        self._ended: dict[str, int] = {}
        self._end_excess = options.end_excess
        self._keeping_room = False

    def start(self, spec: CommandSpec) -> Command:
        """Start a command; raises WorkerError when it does not come to that."""
        if len(self.running) >= self._limit:
            raise WorkerError(
                "too_many_commands",
                f"{self._limit} commands run already; wait for one or cancel it.",
            )
        try:
            cwd = self._open_cwd(spec)
        except OSError as error:
            raise from_os_error(error, spec.cwd or "the workspace") from None
        command = Command(self, spec)
        try:
            command.start(cwd, self._null, self._env)
        finally:
            os.close(cwd)
        self.running.append(command)
        watched = self._end_excess or self._left_behind
        if self._max_processes and watched and not self._keeping_room:
            self._keeping_room = True
            self.scheduler.spawn(self._keep_room())
        self._monitors[command.monitor] = command
        if len(self.running) > 1:
            for other in self.running:
                other.shared = True
        return command

    def start_monitor(self, job: Job) -> int:
        """Give the job to the spare monitor or to a new one; returns its number."""
        spare, self._spare = self._spare, None
        if spare is not None:
            given = spare.give(job)
            spare.close()
            if given:
                return spare.pid
        return self._fork(lambda: run_monitor(lambda: job), job.fds)

    async def prepare(self) -> None:
        """Fork the spare monitor when nobody waits for anything."""
        await sleep(0.001)
        if self._spare is not None or self.running:
            return
        try:
            ours, theirs = socket.socketpair()
        except OSError:
            return
        with theirs:
            try:
                job = Job.receive
                pid = self._fork(lambda: run_monitor(lambda: job(theirs)), [theirs.fileno()])
            except OSError:
                ours.close()
            else:
                self._spare = Spare(pid, ours)

    def drop_spare(self) -> None:
        """End the spare monitor; an idle sandbox needs its memory more."""
        if self._spare is not None:
            self._spare.close()
            self._spare = None

    async def sync(self, fds: list[int]) -> None:
        """Put files and directories on the disk; raises OSError as fsync(2) does.

        A disk takes its time, so a process of its own waits for it. Where there is none to be had,
        or somebody inside has killed it, everybody waits.
        """
        try:
            pid = self._fork(lambda: run_sync(fds), fds)
        except OSError:
            pid = 0
        if pid:
            self._syncs[pid] = None
            while (code := self._syncs[pid]) is None:
                await self._synced.wait()
            del self._syncs[pid]
            if code > 0:
                raise OSError(code, os.strerror(code))
            if code == 0:
                return
        for fd in fds:
            os.fsync(fd)

    def _fork(self, run: Callable[[], NoReturn], fds: list[int]) -> int:
        self._score.for_children()
        try:
            pid = os.fork()
            if pid == 0:
                close_all_but(0, 1, 2, *fds)
                run()
        finally:
            self._score.for_self()
        return pid

    def finished(self, command: Command) -> None:
        """Forget a command that has its answer."""
        self.running.remove(command)
        self.scheduler.spawn(self.prepare())

    def let_go(self, monitor: int) -> None:
        """End a monitor whose command is over; what is below it becomes background."""
        processes = read_processes()
        for pid in descendants(processes, monitor, set()):
            self._background[pid] = processes[pid].begin
        self._left_behind = True
        # Until it is dead they stand below it, and are no command's any more.
        del self._monitors[monitor]
        self._leaving.add(monitor)
        send_signal((monitor,), signal.SIGKILL)

    def unowned(self) -> list[int]:
        """Return the processes below this one that no running or former command accounts for."""
        processes = read_processes()
        self._background = {
            pid: begin
            for pid, begin in self._background.items()
            if pid in processes and processes[pid].begin == begin
        }
        spared = {*self._own(), *self._background}
        return descendants(processes, os.getpid(), spared)

    async def stop_all(self, reason: str) -> None:
        """Kill every process of the sandbox at once, and wait until the commands have ended."""
        stopped = stop_everything()
        commands = list(self.running)
        for command in commands:
            command.stop(reason)
        await self.kill(lambda: list(self._leftovers()))
        for command in commands:
            while not command.finished:
                await command.changed.wait()
        if stopped:
            thaw()

    def _own(self) -> set[int]:
        own = {*self._monitors, *self._syncs}
        if self._spare is not None:
            own.add(self._spare.pid)
        return own

    def _leftovers(self) -> dict[int, Process]:
        """Return the living processes that belong to no running command."""
        processes = read_processes()
        found = descendants(processes, os.getpid(), self._own())
        return {pid: processes[pid] for pid in found if pid not in self._leaving}

    async def kill(self, targets: Callable[[], list[int]]) -> None:
        """Stop and kill processes until none is left."""
        deadline = time.monotonic() + KILL_SECONDS
        stopped = False
        while time.monotonic() < deadline:
            stopped = freeze(targets) or stopped
            left = targets()
            self._reap_all()  # the dead count until then
            if not left:
                break
            send_signal(left, signal.SIGKILL)
            await sleep(0.005)
        if stopped:
            thaw()

    def is_crowded(self) -> bool:
        """Whether leftovers have brought the sandbox so near its limit that a command would fail."""
        if not self._left_behind or not self._max_processes:
            return False
        used, left = self._usage()
        return used > self._max_processes - self._max_processes // 8 and 2 * left > used

    def _usage(self) -> tuple[int, int]:
        """Return how many processes and threads there are, and how many of those are leftovers."""
        processes = read_processes()
        found = descendants(processes, os.getpid(), self._own())
        left = sum(processes[pid].threads for pid in found if pid not in self._leaving)
        self._left_behind = left > 0
        return sum(process.threads for process in processes.values()), left

    def too_many(self, error: NotStartedError) -> WorkerError:
        """Return what to say of a command that others leave no room for."""
        if not self.running:
            return error  # nobody inside holds it: it is the machine that has no more
        used = self._usage()[0]
        most = f" of {self._max_processes}" if self._max_processes else ""
        return WorkerError(
            "too_many_commands",
            f"The command did not start: {error.reason}. What runs holds {used}{most} processes and "
            "threads of the sandbox. Wait for a command to end, cancel one by its request_id, or "
            'end all with cancel "*", which keeps the files.',
        )

    async def _keep_room(self) -> None:
        """See to it, while a command runs, that neither leftovers nor itself take all processes."""
        pause = COUNT_SECONDS if self._end_excess else CROWDED_SECONDS
        while self.running or (self._end_excess and self._left_behind):
            began = time.monotonic()
            if self._end_excess and self._usage()[0] > self._max_processes:
                await self._end_largest()
            elif self.is_crowded():
                await self.make_room(began)
            await sleep(max(pause, COUNT_SHARE * (time.monotonic() - began)))
        self._keeping_room = False

    async def _end_largest(self) -> None:
        """End what passes the limit, where the kernel does not refuse it: in pods, above all."""
        stop_everything()
        processes = read_processes()

        def threads(pids: Iterable[int]) -> int:
            return sum(processes[pid].threads for pid in pids if pid in processes)

        sizes = {command: threads(command.processes()) for command in self.running}
        largest = max(sizes, key=lambda command: sizes[command], default=None)
        if largest is not None and sizes[largest] >= threads(self._leftovers()):
            largest.stop("process_limit")
            while not largest.finished:
                await largest.changed.wait()
            thaw()
        else:
            await self.make_room(time.monotonic())

    async def make_room(self, since: float) -> bool:
        """End what finished commands left behind, newest first; False when there is nothing.

        That takes no new process. Half of them go, so that a server started long ago may stay; all
        go when they are multiplying, or when it is not long since room was made: what has filled
        the sandbox again would do so for ever.

        Args:
            since: What another task made after this moment is room enough.
        """
        while self._making_room:
            await self._room_changed.wait()
        if self._room_made > since:
            return True
        self._making_room = True
        try:
            return await self._make_room()
        finally:
            self._making_room = False
            self._room_changed.notify()

    async def _make_room(self) -> bool:
        before = self._leftovers()
        stopped = stop_everything()
        found = self._leftovers() if stopped else before
        if sum(process.threads for process in found.values()) < self._max_processes // 8:
            found = {}  # too little to help; running commands hold the rest
        chosen = sorted(found, key=lambda pid: (found[pid].begin, pid), reverse=True)
        calm = time.monotonic() - self._room_made > PRESSED_SECONDS
        if calm and found.keys() <= before.keys():
            chosen = chosen[: (len(chosen) + 1) // 2]
            await self.kill(lambda: [pid for pid in chosen if self._lives(pid, found[pid])])
        elif found:
            await self.kill(lambda: list(self._leftovers()))
        if stopped:
            thaw()
        self._note_ended(found[pid].name for pid in chosen)
        if chosen:
            self._room_made = time.monotonic()
        return bool(chosen)

    @staticmethod
    def _lives(pid: int, known: Process) -> bool:
        process = read_process(pid)
        return process is not None and process.alive and process.begin == known.begin

    def _note_ended(self, names: Iterable[bytes]) -> None:
        for raw in names:
            name = raw.decode(errors="replace")
            if name not in self._ended and len(self._ended) >= MAX_ENDED_NAMES:
                name = "others"
            self._ended[name] = self._ended.get(name, 0) + 1

    def take_ended(self) -> dict[str, int]:
        """Return how many leftovers of which name were ended since the last answer."""
        ended, self._ended = self._ended, {}
        return ended

    async def end_all(self) -> bool:
        """End every process of the sandbox: TERM, grace, KILL; False when there was none."""
        commands = list(self.running)
        left = list(self._leftovers())
        for command in commands:
            command.stop("cancelled")
        send_signal(left, signal.SIGTERM, signal.SIGCONT)
        deadline = time.monotonic() + END_ALL_SECONDS
        while time.monotonic() < deadline and self._leftovers():
            await sleep(0.02)
        await self.kill(lambda: list(self._leftovers()))
        for command in commands:
            await command.cancel()
        # What a cancelled command had let go of meanwhile.
        await self.kill(lambda: list(self._leftovers()))
        return bool(commands or left)

    def count_processes(self) -> int:
        """Return how many processes there are besides our own."""
        own = self._own() | self._leaving
        found = descendants(read_processes(), os.getpid(), set())
        return sum(1 for pid in found if pid not in own)

    def count_memory_kills(self) -> int:
        """Return how often the kernel killed for want of memory here; 0 when that is not known."""
        if not self._memory_events:
            return 0
        try:
            fd = os.open(self._memory_events, os.O_RDONLY | os.O_CLOEXEC)
            try:
                text = os.read(fd, 4096)
            finally:
                os.close(fd)
            return sum(
                int(line.split()[1]) for line in text.splitlines() if line.startswith(b"oom_kill ")
            )
        except (OSError, ValueError, IndexError):
            return 0

    async def reap(self, wakeup: int) -> None:
        """Collect ended children for ever, ours and those that lost their parents."""
        while True:
            await Wait(wakeup, select.EPOLLIN, time.monotonic() + 5.0)
            with contextlib.suppress(BlockingIOError):
                os.read(wakeup, 4096)
            self._reap_all()

    def _reap_all(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
            except ChildProcessError:
                return
            if pid == 0:
                return
            if os.WIFSTOPPED(status):
                # Code inside may stop its monitor, and with it the news of its own end.
                if pid in self._own():
                    send_signal((pid,), signal.SIGCONT)
            elif pid in self._syncs:
                self._syncs[pid] = os.waitstatus_to_exitcode(status)
                self._synced.notify()
            elif pid in self._monitors:
                self._monitors.pop(pid).monitor_ended(status)
            elif pid in self._leaving:
                self._leaving.remove(pid)
            elif self._spare is not None and pid == self._spare.pid:
                self.drop_spare()

    def _open_cwd(self, spec: CommandSpec) -> int:
        if spec.cwd is None:
            return self._workspace.open_root()
        return self._workspace.open_directory(spec.cwd, os.O_PATH)


def command_environment(workspace: str) -> dict[bytes, bytes]:
    """Return the environment every command starts with."""
    env = {
        b"PATH": b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        b"LANG": b"C.UTF-8",
        b"TMPDIR": b"/tmp",
        # Python takes compiled code for current when second and size agree: an agent that mends
        # a file and runs it at once would run the old one.
        b"PYTHONDONTWRITEBYTECODE": b"1",
        # Nobody else uses this system's Python: what pip installs goes to ~/.local, or a venv.
        b"PIP_BREAK_SYSTEM_PACKAGES": b"1",
    }
    # The cluster's addresses are in the environment of every pod, and no business of commands.
    ours = {
        name: value
        for name, value in os.environb.items()
        if name != b"POD_IP" and not name.startswith(b"KUBERNETES_")
    }
    env = {**env, **ours, b"HOME": os.fsencode(workspace)}
    # Where pip and npm put programs that an agent installs: /usr is not its own.
    env[b"PATH"] = os.fsencode(workspace) + b"/.local/bin:" + env[b"PATH"]
    if not has_network():
        # They would ask again for a minute; what was asked first has said all there is to say.
        env = {b"PIP_RETRIES": b"0", b"npm_config_fetch_retries": b"0", **env}
    return env


def has_network() -> bool:
    """Return whether there is any way out but loopback; a closed one may look open from here."""
    try:
        return any(name != "lo" for _, name in socket.if_nameindex())
    except OSError:
        return True


# --- at-most-once table ------------------------------------------------------------------------


class Once:
    """A `request_id` that was seen: what was asked, and the command or its answer while kept."""

    __slots__ = ("answer", "command", "fingerprint")

    def __init__(self, fingerprint: bytes, command: Command) -> None:
        self.fingerprint = fingerprint
        self.command: Command | None = command
        self.answer: Answer | None = None


class OnceTable:
    """Makes sure that a `request_id` runs at most once in the life of this process."""

    def __init__(self) -> None:
        self._entries: dict[bytes, Once] = {}
        self._kept: deque[Once] = deque()
        self._kept_bytes = 0

    def find(self, spec: CommandSpec) -> Once | None:
        """Return what is known of a request's id; None when it is new and may be recorded."""
        entry = self._entries.get(self._key(spec.request_id or ""))
        if entry is not None and entry.fingerprint != spec.fingerprint():
            raise WorkerError(
                "request_id_conflict",
                "This request_id was used for another request; make a new one.",
            )
        if entry is not None and entry.command is None and entry.answer is None:
            raise WorkerError(
                "answer_evicted", "This command ran, but its answer is not kept any more."
            )
        if entry is None and len(self._entries) >= MAX_REQUEST_IDS:
            raise WorkerError(
                "request_ids_exhausted", "This sandbox has seen its last request_id; release it."
            )
        return entry

    def running(self, request_id: str) -> Command | None:
        """Return the running command of an id, None when it has ended; unknown ids are refused."""
        entry = self._entries.get(self._key(request_id))
        if entry is None:
            raise WorkerError("command_not_found", "No command has this request_id.")
        return entry.command

    def record(self, spec: CommandSpec, command: Command) -> Once:
        """Note that a command runs under its id."""
        entry = Once(spec.fingerprint(), command)
        self._entries[self._key(spec.request_id or "")] = entry
        return entry

    async def settle(self, spec: CommandSpec, entry: Once) -> None:
        """Wait for the answer and keep it; a command that never started is forgotten."""
        command = entry.command
        while command is not None and not command.finished:
            await command.changed.wait()
        entry.command = None
        if command is None or command.answer is None:
            del self._entries[self._key(spec.request_id or "")]
            return
        entry.answer = command.answer
        self._kept.append(entry)
        self._kept_bytes += command.answer.size
        # The newest stays whatever its size: it is the one a broken connection asks for.
        while len(self._kept) > 1 and (
            self._kept_bytes > MAX_KEPT_BYTES or len(self._kept) > MAX_KEPT_ANSWERS
        ):
            oldest = self._kept.popleft()
            if oldest.answer is not None:
                self._kept_bytes -= oldest.answer.size
                oldest.answer = None

    @staticmethod
    def _key(request_id: str) -> bytes:
        return sha256(request_id.encode(errors="surrogatepass")).digest()[:16]


# --- worker ------------------------------------------------------------------------------------


DISK_OPTIONS = ("--disk-limit", "--disk-floor", "--tmp-limit")


class Options:
    """The command line."""

    def __init__(self, arguments: list[str], score: OutOfMemoryScore) -> None:
        self.score = score
        self.listen_fd: int | None = None
        self.listen: str | None = None
        self.workspace = "/workspace"
        self.marker: str | None = None
        self.uid: str | None = None
        self.memory_events: str | None = None
        self.max_commands = 64
        self.max_processes = 0
        self.end_excess = False
        self.disk_limit = 0
        self.disk_floor = 0
        self.tmp_limit = 0
        self.unclaimed_exit = False
        rest = iter(arguments)
        for option in rest:
            if option in ("--unclaimed-exit", "--end-excess"):
                setattr(self, option[2:].replace("-", "_"), True)
            else:
                self._take(option, next(rest, None))
        if (self.listen_fd is None) == (self.listen is None):
            raise SystemExit("worker.py: give --listen-fd N or --listen HOST:PORT")
        if self.memory_events is None:
            self.memory_events = self._find_memory_events()

    def _take(self, option: str, value: str | None) -> None:
        if value is None:
            raise SystemExit(f"worker.py: {option} needs a value")
        if option in ("--listen", "--workspace", "--marker", "--uid", "--memory-events"):
            setattr(self, option[2:].replace("-", "_"), value)
        elif (
            option in ("--listen-fd", "--max-commands", "--max-processes", *DISK_OPTIONS)
            and value.isdigit()
        ):
            setattr(self, option[2:].replace("-", "_"), int(value))
        else:
            raise SystemExit(f"worker.py: unknown option or value: {option} {value}")

    @staticmethod
    def _find_memory_events() -> str | None:
        paths = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
        return next((path for path in paths if os.access(path, os.R_OK)), None)

    def open_listener(self) -> socket.socket:
        """Return the listening socket, non-blocking."""
        if self.listen_fd is not None:
            sock = socket.socket(fileno=self.listen_fd)
            os.set_inheritable(self.listen_fd, False)
        else:
            host, _, port = (self.listen or "").rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, int(port)))
            sock.listen(128)
        sock.setblocking(False)
        return sock


class Marker:
    """What a claim leaves on a volume that outlives the process: who may claim the next one.

    A line of the format's number, a salt, the token's digest under it, and the generation. Code
    inside may write here, so what is read is bounded and checked; it harms its own sandbox only.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self.is_there = os.path.lexists(path)

    def check(self, token: bytes, generation: int) -> None:
        """Let only the token that the marker names pass, or any where there is none.

        A marker that cannot be read names no token: nobody passes.
        """
        try:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            fd = os.open(self._path, flags)
        except FileNotFoundError:
            self.is_there = False
            return
        except OSError:
            raise restarted() from None
        try:
            content = os.read(fd, MAX_MARKER_BYTES + 1)
            form, salt, digest, claimed = content.decode("ascii").split(" ")
            whole = form == "1" and len(digest) == 64 and claimed.endswith("\n")
            key, last = binascii.unhexlify(salt), int(claimed)
        except (OSError, ValueError):
            whole = False
        finally:
            os.close(fd)
        if not whole or len(content) > MAX_MARKER_BYTES:
            raise restarted()
        if hmac_sha256(key, token).hex() != digest:
            raise WorkerError("claim_conflict", "This sandbox was claimed with another token.")
        if generation < last:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")

    def leave(self, token: bytes, generation: int) -> None:
        """Name a token that `check` let pass. The kernel may end this process at any time."""
        salt = os.urandom(16)
        line = f"1 {salt.hex()} {hmac_sha256(salt, token).hex()} {generation}\n".encode("ascii")
        new = self._path + ".new"
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)  # noqa: PTH108 - nothing of pathlib here
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(new, flags, 0o600)
            try:
                # Not synced, as the workspace is not: what a power cut leaves of it lets nobody in.
                if os.write(fd, line) != len(line):
                    raise OSError(errno.ENOSPC, "")
            finally:
                os.close(fd)
            os.replace(new, self._path)  # noqa: PTH105
        except OSError as error:
            # The one that is there names the token too, if perhaps an earlier generation.
            if not self.is_there:
                raise from_os_error(error, "The restart marker") from None
        self.is_there = True


class Claim:
    """Who this worker belongs to: token, generation, idle time, and the restart marker."""

    def __init__(self, marker: str | None, uid: str | None) -> None:
        self._marker = None if marker is None else Marker(marker)
        self._uid = uid
        self._token: bytes | None = None
        self._compare_key = os.urandom(32)
        self.boot_id = binascii.hexlify(os.urandom(16)).decode("ascii")
        self.generation = 0
        self.idle_seconds = 0
        self.restarted = self._marker is not None and self._marker.is_there

    @property
    def claimed(self) -> bool:
        """Whether the first claim has been made."""
        return self._token is not None

    def prove(self, nonce: str) -> dict[str, Any]:
        """Return the answer to a proof request."""
        if not 16 <= len(nonce) <= 128 or nonce.strip("0123456789abcdefABCDEF"):
            raise WorkerError("invalid_request", "nonce must be 16 to 128 hexadecimal digits.")
        answer: dict[str, Any] = {
            "protocol": PROTOCOL,
            "claimed": self.claimed,
            "restarted": self.restarted,
        }
        if self._uid is not None:
            answer["uid"] = self._uid
        if self._token is None:
            return answer
        proof = hmac_sha256(self._token, f"{nonce}:{self.boot_id}".encode("ascii"))
        return {**answer, "boot_id": self.boot_id, "proof": proof.hex()}

    def take(self, token: str, generation: int, idle_seconds: int) -> dict[str, Any]:
        """Claim, or claim again with the same token, also that of the process before this one."""
        if not (token.isascii() and token.isprintable() and 16 <= len(token) <= 256):
            raise WorkerError("invalid_request", "token must be 16 to 256 ASCII characters.")
        if self._token is not None and not self._is_token(token):
            raise WorkerError("claim_conflict", "This sandbox was claimed with another token.")
        if generation < self.generation:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")
        taken = token.encode("ascii")
        if self._marker is not None and (self._token is None or generation > self.generation):
            if self._token is None:
                self._marker.check(taken, generation)
            self._marker.leave(taken, generation)
        self._token, self.generation = taken, generation
        self.restarted = False
        self.idle_seconds = idle_seconds
        return {"protocol": PROTOCOL, "boot_id": self.boot_id}

    def check(self, headers: dict[str, str]) -> None:
        """Let only requests of the claimant pass."""
        if self.restarted:
            raise restarted()
        if self._token is None:
            raise WorkerError("unclaimed", "This sandbox is not claimed.")
        if not self._is_token(headers.get("x-sandbox-token", "")):
            raise WorkerError("bad_token", "The token is missing or wrong.")
        generation = headers.get("x-sandbox-generation", "")
        if not (generation.isascii() and generation.isdigit() and len(generation) <= 18):
            raise WorkerError("invalid_request", "x-sandbox-generation must be a number.")
        if int(generation) < self.generation:
            raise WorkerError("stale_generation", "A later generation holds this sandbox.")

    def _is_token(self, text: str) -> bool:
        # Equal hashes under a key nobody knows: the time it takes tells nothing about the token.
        presented = hmac_sha256(self._compare_key, text.encode("latin-1", "replace"))
        return presented == hmac_sha256(self._compare_key, self._token or b"")


def restarted() -> WorkerError:
    """Refuse, since this process stands where another was claimed before."""
    return WorkerError(
        "restarted",
        "The sandbox was started again by itself (its memory limit is the likely cause) and must "
        "be claimed anew.",
    )


class Worker:
    """Accepts connections and leads each request to what answers it."""

    def __init__(self, options: Options, listener: socket.socket) -> None:
        self.scheduler = Scheduler()
        self._listener = listener
        self._unclaimed_exit = options.unclaimed_exit
        self._claim = Claim(options.marker, options.uid)
        self._workspace = Workspace(options.workspace)
        self._commands = Commands(self.scheduler, self._workspace, options)
        limit, floor = options.disk_limit, options.disk_floor
        self._disk = Disk(self.scheduler, self._workspace.root, limit, floor)
        self._files = Files(self.scheduler, self._workspace, self._disk.take, self._commands.sync)
        self._tmp = Disk(self.scheduler, b"/tmp", options.tmp_limit)
        self._once = OnceTable()
        self._connections: set[Connection] = set()
        self._requests = 0
        self._last_contact = time.monotonic()
        self._routes: dict[tuple[str, str], Callable[[Request], Awaitable[None]]] = {
            ("GET", "/proof"): self._proof,
            ("POST", "/claim"): self._take_claim,
            ("GET", "/health"): self._health,
            ("POST", "/execute"): self._execute,
            ("POST", "/cancel"): self._cancel,
            ("POST", "/ls"): self._files.ls,
            ("POST", "/read"): self._files.read,
            ("POST", "/write"): self._write,
            ("POST", "/replace"): self._replace,
        }

    def run(self, wakeup: int) -> NoReturn:
        """Serve until idle for too long."""
        self.scheduler.spawn(self._accept())
        self.scheduler.spawn(self._commands.reap(wakeup))
        self.scheduler.spawn(self._files.sweep())
        self.scheduler.spawn(self._end_when_idle())
        self.scheduler.spawn(self._disk.watch(self._commands))
        self.scheduler.spawn(self._tmp.watch(self._commands))
        self.scheduler.run()

    async def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except BlockingIOError:
                await Wait(self._listener.fileno(), select.EPOLLIN)
            except OSError:
                await sleep(0.05)
            else:
                self._take_connection(sock)
                await turn()

    def _take_connection(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 30)
        self._make_room()
        if len(self._connections) >= MAX_CONNECTIONS:
            sock.close()
            return
        connection = Connection(sock)
        self._connections.add(connection)
        self.scheduler.spawn(self._serve(connection))

    def _make_room(self) -> None:
        """At the limit, end the connection that has been idle longest, strangers first."""
        if len(self._connections) < MAX_CONNECTIONS:
            return
        idle = [
            (connection.trusted, connection.idle_since, connection)
            for connection in self._connections
            if connection.idle_since is not None
        ]
        if idle:
            oldest = min(idle, key=itemgetter(0, 1))[2]
            self._connections.discard(oldest)
            oldest.shut()

    async def _serve(self, connection: Connection) -> None:
        try:
            while await self._serve_one(connection):
                await turn()
        except ConnectionLost:
            pass
        finally:
            self._connections.discard(connection)
            connection.shut()
            connection.socket.close()

    async def _serve_one(self, connection: Connection) -> bool:
        """Answer one request; False when the connection has to end."""
        connection.idle_since = time.monotonic()
        patience = KEEP_ALIVE_SECONDS if connection.trusted else HEADER_SECONDS
        if not connection.buffer and not await connection.fill(patience):
            return False
        deadline = time.monotonic() + HEADER_SECONDS
        try:
            head = await connection.read_until(b"\r\n\r\n", MAX_HEADER_BYTES, deadline)
            request = Request(connection, head)
        except WorkerError as error:
            await self._refuse(connection, error)
            return False
        connection.idle_since = None
        self._requests += 1
        try:
            await self._answer(request)
        finally:
            self._requests -= 1
        if request.keep_alive and request.body.is_nearly_read:
            await request.body.drain()
            return True
        await self._linger(connection)
        return False

    async def _answer(self, request: Request) -> None:
        try:
            await self._dispatch(request)
        except ConnectionLost:
            raise
        except WorkerError as caught:
            error = caught
        except OSError as caught:
            error = from_os_error(caught, request.subject)
        except Exception as caught:  # noqa: BLE001 - one request's fault must not end the others
            log_fault(caught)
            error = WorkerError("internal", "The worker failed at this request; see its log.")
        else:
            return
        if request.answered:
            raise ConnectionLost
        request.keep_alive = request.keep_alive and request.body.is_nearly_read
        details = {"code": error.code, "message": error.message}
        await request.answer({"error": details}, error.status)

    async def _dispatch(self, request: Request) -> None:
        if request.path not in ("/proof", "/claim"):
            self._claim.check(request.headers)
            request.connection.trusted = True
            self._last_contact = time.monotonic()
        action = self._routes.get((request.method, request.path))
        if action is None:
            known = any(path == request.path for _, path in self._routes)
            code = "method_not_allowed" if known else "unknown_verb"
            raise WorkerError(code, f"There is no {request.method[:20]} {request.path[:100]}.")
        await action(request)
        if request.connection.trusted:
            self._last_contact = time.monotonic()

    @staticmethod
    async def _refuse(connection: Connection, error: WorkerError) -> None:
        body = _encode({"error": {"code": error.code, "message": error.message}})
        head = (
            f"HTTP/1.1 {error.status} {REASONS.get(error.status, 'Error')}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        await connection.send(head.encode("ascii") + body)
        await Worker._linger(connection)

    @staticmethod
    async def _linger(connection: Connection) -> None:
        """Read on for a moment, else the peer's kernel throws our answer away with a reset."""
        try:
            connection.socket.shutdown(socket.SHUT_WR)
        except OSError:
            return
        deadline = time.monotonic() + LINGER_SECONDS
        while (left := deadline - time.monotonic()) > 0 and await connection.fill(left):
            connection.buffer.clear()

    async def _proof(self, request: Request) -> None:
        await request.answer(self._claim.prove(request.query_value("nonce") or ""))

    async def _take_claim(self, request: Request) -> None:
        fields = await request.fields(MAX_CLAIM_BYTES)
        token = fields.text("token")
        generation = fields.integer("generation", 0, 1 << 53)
        idle_seconds = fields.integer("idle_seconds", 1, 86_400 * 366)
        fields.close()
        answer = self._claim.take(token, generation, idle_seconds)
        answer["empty"] = self._workspace.is_empty()
        self.scheduler.spawn(self._commands.prepare())
        self._last_contact = time.monotonic()
        await request.answer(answer)

    async def _health(self, request: Request) -> None:
        idle = request.query_value("idle_seconds")
        if idle is not None:
            if not (idle.isascii() and idle.isdigit() and 0 < len(idle) <= 9):
                raise WorkerError("invalid_request", "idle_seconds must be a number.")
            self._claim.idle_seconds = int(idle)
        commands, processes = len(self._commands.running), self._commands.count_processes()
        await request.answer({"commands": commands, "processes": processes})

    async def _cancel(self, request: Request) -> None:
        fields = await request.fields()
        request_id = fields.text("request_id", limit=128)
        fields.close()
        if request_id == EVERYTHING:
            await request.answer({"cancelled": await self._commands.end_all()})
            return
        command = self._once.running(request_id)
        if command is not None and not command.finished:
            await command.cancel()
            await request.answer({"cancelled": True})
        else:
            await request.answer({"cancelled": False})

    async def _write(self, request: Request) -> None:
        await self._disk.check(request.body.announced)
        request.body.meter = self._disk.take
        await self._files.write(request)

    async def _replace(self, request: Request) -> None:
        await self._disk.check(0)
        await self._files.replace(request)

    async def _execute(self, request: Request) -> None:
        spec = CommandSpec(await request.fields(), request.headers.get("x-live-bytes"))
        self._disk.busy.notify()
        self._tmp.busy.notify()
        for _ in range(MAX_STARTS):
            began = time.monotonic()
            if self._commands.is_crowded():
                await self._commands.make_room(began)
            try:
                return await self._run(request, spec)
            except NotStartedError as error:
                if not error.lacks_room:
                    raise
                if not await self._commands.make_room(began):
                    raise self._commands.too_many(error) from None
                await turn()  # the table of request ids forgets what did not start
        return await self._run(request, spec)

    async def _run(self, request: Request, spec: CommandSpec) -> None:
        if spec.request_id is None:
            command = self._commands.start(spec)
            await Relay(request, command, command.listener, owner=True).run()
            return
        entry = self._once.find(spec)
        if entry is None:
            command = self._commands.start(spec)
            entry = self._once.record(spec, command)
            self.scheduler.spawn(self._once.settle(spec, entry))
            await Relay(request, command, command.listener).run()
        elif entry.command is not None:
            await Relay(request, entry.command).run()
        elif entry.answer is not None:
            await entry.answer.send(request.connection, request.head(200, STREAM_HEADERS))

    async def _end_when_idle(self) -> None:
        began = time.monotonic()
        while True:
            await sleep(IDLE_CHECK_SECONDS)
            now = time.monotonic()
            if self._requests or self._commands.running:
                continue
            if now - self._last_contact > SPARE_SECONDS:
                self._commands.drop_spare()
            if self._claim.claimed:
                limit = self._claim.idle_seconds + IDLE_MARGIN_SECONDS
                if now - self._last_contact > limit:
                    os._exit(0)
            elif self._unclaimed_exit and now - began > UNCLAIMED_SECONDS:
                os._exit(0)


STREAM_HEADERS = "content-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n"


class Relay:
    """Brings a command's output and end to one client, and ends the command if its owner leaves.

    A client that takes nothing for PROGRESS_SECONDS, while there is something to take, has left.
    """

    def __init__(
        self,
        request: Request,
        command: Command,
        listener: Listener | None = None,
        *,
        owner: bool = False,
    ) -> None:
        self._request = request
        self._connection = request.connection
        self._command = command
        self._owner = owner
        self._listener = listener
        self._head_taken = False
        self._pending = memoryview(b"")

    async def run(self) -> None:
        """Relay until the answer is sent."""
        command = self._command
        try:
            await self._follow()
        except ConnectionLost:
            if self._listener is not None:
                command.leave()
            if self._owner and not command.finished:
                await command.cancel()
            raise
        if command.error is not None:
            raise command.error
        if command.answer is not None:
            await self._finish(command.answer)

    async def _follow(self) -> None:
        """Send what comes until the command has ended, and notice when the client goes."""
        watched = select.EPOLLIN
        deadline: float | None = None
        while not self._command.finished:
            progress = self._send_some()
            now = time.monotonic()
            if not self._pending:
                deadline = None
            elif progress or deadline is None:
                deadline = now + PROGRESS_SECONDS
            elif now >= deadline:
                raise ConnectionLost
            mask = watched | (select.EPOLLOUT if self._pending else 0)
            events = await self._command.changed.wait(deadline, self._connection.fd, mask)
            if events & (select.EPOLLHUP | select.EPOLLERR):
                raise ConnectionLost
            if events & select.EPOLLIN and not self._read_ahead():
                watched = 0

    async def _finish(self, answer: Answer) -> None:
        while piece := self._pending or self._next():
            self._pending = memoryview(b"")
            await self._connection.send(piece)
        head = b"" if self._head_taken else self._request.head(200, STREAM_HEADERS)
        await answer.send(self._connection, head)

    def _send_some(self) -> bool:
        """Send what the client takes just now; says whether it took any."""
        progress = False
        while piece := self._pending or memoryview(self._next()):
            sent = self._connection.send_some(piece)
            self._pending = piece[sent:]
            progress = progress or sent > 0
            if self._pending:
                break
        return progress

    def _next(self) -> bytes:
        if self._listener is None or not self._command.started:
            return b""
        if not self._head_taken:
            self._head_taken = True
            return self._request.head(200, STREAM_HEADERS)
        was_full = self._listener.is_full
        chunk = self._listener.take()
        if was_full and not self._listener.is_full:
            self._command.changed.notify()
        return chunk

    def _read_ahead(self) -> bool:
        """Take what the client sends early; False when no more of that is wanted."""
        try:
            data = self._connection.socket.recv(65536)
        except BlockingIOError:
            return True
        except OSError:
            raise ConnectionLost from None
        if not data:
            raise ConnectionLost
        self._connection.buffer += data
        return len(self._connection.buffer) < MAX_HEADER_BYTES


def restart_compiled() -> None:
    """Run on as a fresh process from bytecode: parsing the source leaves 6 MiB behind for ever."""
    if not __file__.endswith(".py"):
        if __file__.startswith("/proc/self/fd/"):
            os.close(int(__file__.rsplit("/", 1)[1]))
        return
    from _frozen_importlib_external import MAGIC_NUMBER

    try:
        code = marshal.dumps(sys._getframe(1).f_code)  # noqa: SLF001 - the module's own code
        memory = memory_file(MAGIC_NUMBER + bytes(12) + code)
        os.set_inheritable(memory, True)
        program = f"/proc/self/fd/{memory}"
        os.execv(sys.executable, [sys.executable, "-I", "-S", "-E", program, *sys.argv[1:]])  # noqa: S606
    except OSError as error:
        log(f"running from source: {error.strerror}")


def main() -> NoReturn:
    """Start the worker with the arguments of the command line."""
    score = OutOfMemoryScore()
    options = Options(sys.argv[1:], score)
    protect_process()
    os.umask(0o022)
    # Whatever is imported later could be a file that code inside has changed.
    sys.path.clear()
    sys.meta_path.clear()
    gc.freeze()  # a collection in a forked monitor would copy every page it looks at
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 0)
    wakeup = take_signals()
    Worker(options, options.open_listener()).run(wakeup)


if __name__ == "__main__":
    restart_compiled()
    main()
