"""What is asked of Linux: process control, the system call filter, signals, OOM scores."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import sys

from oneseek_sandbox.guest.worker.base import log

__all__ = [
    "PR_SET_CHILD_SUBREAPER",
    "PR_SET_DUMPABLE",
    "PR_SET_NAME",
    "PR_SET_NO_NEW_PRIVS",
    "PR_SET_PDEATHSIG",
    "PR_SET_SECCOMP",
    "SECCOMP_MODE_FILTER",
    "SETTABLE_SIGNALS",
    "SYSCALLS",
    "OutOfMemoryScore",
    "prctl",
    "protect_process",
    "seccomp_program",
    "set_process_name",
    "take_signals",
]

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
# Instructions of the filter: code, jump if true, jump if false, value.
_LOAD, _EQUAL, _BITS_AND, _GIVE = 0x20, 0x15, 0x54, 0x06
_REFUSE = (_GIVE, 0, 0, 0x00050000 | errno.EPERM)
_ALLOW = (_GIVE, 0, 0, 0x7FFF0000)

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
    steps: list[tuple[int, int, int, int]] = []
    for architecture, prlimit, priority, scheduling in SYSCALLS[machine]:
        block = [
            (_LOAD, 0, 0, 0),
            (_BITS_AND, 0, 0, 0xBFFFFFFF),  # x32 marks its calls with this bit
            *_limit_steps(prlimit),
            *_priority_steps(priority),
        ]
        for number in scheduling:
            block += [(_EQUAL, 0, 4, number), (_LOAD, 0, 0, 16), (_EQUAL, 0, 1, 1)]
            block += [_REFUSE, _ALLOW]
        block.append(_ALLOW)
        steps += [(_LOAD, 0, 0, 4), (_EQUAL, 0, len(block), architecture), *block]
    steps.append(_ALLOW)
    return b"".join(
        code.to_bytes(2, sys.byteorder) + bytes((true, false)) + value.to_bytes(4, sys.byteorder)
        for code, true, false, value in steps
    )


def _limit_steps(prlimit: int) -> tuple[tuple[int, int, int, int], ...]:
    """Refuse prlimit64 with new limits for a process other than the caller."""
    return (
        (_EQUAL, 0, 8, prlimit),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 5, 0, 0),
        (_LOAD, 0, 0, 32),
        (_EQUAL, 0, 2, 0),
        (_LOAD, 0, 0, 36),
        (_EQUAL, 1, 0, 0),
        _REFUSE,
        _ALLOW,
    )


def _priority_steps(priority: int) -> tuple[tuple[int, int, int, int], ...]:
    """Refuse setpriority but by process, and of PID 1."""
    return (
        (_EQUAL, 0, 6, priority),
        (_LOAD, 0, 0, 16),
        (_EQUAL, 0, 3, 0),
        (_LOAD, 0, 0, 24),
        (_EQUAL, 1, 0, 1),
        _ALLOW,
        _REFUSE,
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
