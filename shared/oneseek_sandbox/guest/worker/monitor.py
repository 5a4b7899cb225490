"""The parent of one command at a time: a process of its own, forked from this one."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.job import MAX_JOB_BYTES, SCRIPT_FD, Job, candidates
from oneseek_sandbox.guest.worker.kernel import (
    PR_SET_CHILD_SUBREAPER,
    PR_SET_PDEATHSIG,
    SETTABLE_SIGNALS,
    prctl,
    set_process_name,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, NoReturn

__all__ = [
    "COMMAND_NICENESS",
    "MAX_OPEN_FILES",
    "Monitor",
    "close_all_but",
    "jobs_from",
    "run_monitor",
    "run_sync",
    "scheduling",
    "spawn_program",
    "watch_children",
]

MAX_OPEN_FILES = 4096
COMMAND_NICENESS = 10


class Monitor:
    """One that waits for jobs, as PID 1 holds it: its number, and the socket they are sent by."""

    def __init__(self, pid: int, sock: socket.socket) -> None:
        self.pid = pid
        self._socket = sock

    def give(self, job: Job) -> bool:
        """Hand it a job; False when that is too large, or the monitor is gone."""
        data = job.pack()
        try:
            return len(data) < MAX_JOB_BYTES and socket.send_fds(
                self._socket, [data], job.fds
            ) == len(data)
        except OSError:
            return False

    def close(self) -> None:
        """Let go of it: it ends once it has no job."""
        self._socket.close()


def jobs_from(sock: socket.socket) -> Iterator[Job]:
    """Give the jobs that come over a socket, until nobody is left who could send one."""
    with contextlib.suppress(OSError):
        while True:
            yield Job.receive(sock)


def run_monitor(jobs: Iterable[Job], *kept: int) -> NoReturn:
    """Be the parent of commands: start one, tell how it ended, collect what it leaves behind.

    As subreaper it keeps every descendant below itself, whatever that does with sessions and
    double forks, so PID 1 can find and kill them. The next job is taken when none is left.

    Args:
        kept: Descriptors by which the jobs come.
    """
    status = 1
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        prctl(PR_SET_CHILD_SUBREAPER, 1)
        set_process_name(b"sandbox-monitor")
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        # PID 1 must get to work however many of them want to. Where it is itself nicer than that,
        # only root could make a command less so.
        own = os.getpriority(os.PRIO_PROCESS, 0)
        os.setpriority(os.PRIO_PROCESS, 0, max(own, COMMAND_NICENESS))
        given = scheduling()
        for job in jobs:
            pid = spawn_program(job)
            # What comes next must be none of the first three.
            close_all_but(0, 1, 2, job.channel, *kept)
            watch_children(pid, job.channel)
            if scheduling() != given:
                break  # a command must not slow down those after it
            os.chdir("/")  # the command's directory is nobody's any more
            os.write(job.channel, b"alone 0\n")
            os.close(job.channel)
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
    # A process group of its own: `kill 0` in a script must not hit the monitor.
    own: dict[str, Any] = {"setpgroup": 0}
    if job.terminal:
        # The first terminal that the leader of a session opens becomes its own, as by TIOCSCTTY.
        own = {"setsid": True}
        actions[0] = (os.POSIX_SPAWN_OPEN, 0, job.terminal, os.O_RDWR, 0)
    failure = errno.ENOENT
    try:
        os.fchdir(job.cwd)
    except OSError as error:
        os.write(job.channel, b"cwd %d\n" % (error.errno or 0))
        return 0
    for path in candidates(job.arguments[0], job.env):
        try:
            pid = os.posix_spawn(
                path,
                job.arguments,
                job.env,
                file_actions=actions,
                setsigmask=(),
                setsigdef=SETTABLE_SIGNALS,
                **own,
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
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, 0)
            if pid == command:
                os.write(channel, b"exit %d\n" % os.waitstatus_to_exitcode(status))


def scheduling() -> tuple[int, int, set[int]]:
    """Return what code inside may change of this process, and what it starts would have from it."""
    return os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), os.sched_getaffinity(0)
