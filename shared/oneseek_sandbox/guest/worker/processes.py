"""Processes as /proc shows them, and signals to them."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = [
    "Process",
    "descendants",
    "freeze",
    "read_process",
    "read_processes",
    "send_signal",
    "signal_exactly",
    "stop_everything",
    "thaw",
]


class Process:
    """A line of /proc: parent, group, and when it began (which tells a reused number apart)."""

    __slots__ = ("alive", "begin", "group", "name", "parent", "threads")

    def __init__(self, line: bytes) -> None:
        end = line.rindex(b")")
        fields = line[end + 2 :].split()
        self.name = line[line.index(b"(") + 1 : end]
        self.alive = fields[0] not in (b"Z", b"X")
        self.parent = int(fields[1])
        self.group = int(fields[2])
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


def signal_exactly(pid: int, begin: int, number: int) -> bool:
    """Send a signal to a process that began then, and to no other that got its number since."""
    try:
        fd = os.pidfd_open(pid)
    except AttributeError:
        fd = -1  # a Python that was built where they were not known
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.EPERM, errno.EINVAL):
            return False
        fd = -1  # a kernel without them: what is left is the moment between look and signal
    try:
        process = read_process(pid)
        if process is None or not process.alive or process.begin != begin:
            return False
        if fd >= 0:
            signal.pidfd_send_signal(fd, number)
        else:
            os.kill(pid, number)
    except OSError:
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


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
