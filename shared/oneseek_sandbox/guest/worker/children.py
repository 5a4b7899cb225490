"""The processes that this one forks, and what those leave behind."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.monitor import (
    Monitor,
    close_all_but,
    jobs_from,
    run_monitor,
    run_sync,
)
from oneseek_sandbox.guest.worker.processes import (
    descendants,
    freeze,
    read_processes,
    send_signal,
    signal_exactly,
    thaw,
)
from oneseek_sandbox.guest.worker.scheduler import Condition, Wait, sleep

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from oneseek_sandbox.guest.worker.command import Command
    from oneseek_sandbox.guest.worker.job import Job
    from oneseek_sandbox.guest.worker.kernel import OutOfMemoryScore
    from oneseek_sandbox.guest.worker.managed import Managed
    from oneseek_sandbox.guest.worker.processes import Process
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = ["KILL_SECONDS", "MAX_IDLE", "SIGNAL_ROUNDS", "Children"]

KILL_SECONDS = 10.0
MAX_IDLE = 4  # monitors without a job
SIGNAL_ROUNDS = 4


class Children:
    """The processes that this one forks, and what their descendants leave to it."""

    def __init__(self, scheduler: Scheduler, score: OutOfMemoryScore) -> None:
        self._score = score
        self._monitors: dict[int, Command] = {}
        self._leaving: set[int] = set()
        self._lingering: dict[int, Managed] = {}  # monitors of what managed processes left behind
        self._background: dict[int, int] = {}
        self._working: dict[int, Monitor] = {}  # those of them that can be given another job
        self._idle: dict[int, Monitor] = {}
        self._syncs: dict[int, int | None] = {}  # exit codes, by process
        self._synced = Condition(scheduler)
        self.left_behind = False

    def watch(self, command: Command) -> None:
        """Tell a command when its monitor has ended."""
        self._monitors[command.monitor] = command

    def start_monitor(self, job: Job) -> int:
        """Give the job to a monitor that has none, or to a new one; returns its number."""
        monitor = self._idle.popitem()[1] if self._idle else self._fork_monitor()
        if monitor.give(job):
            self._working[monitor.pid] = monitor
            return monitor.pid
        self._dismiss(monitor)
        return self._fork(lambda: run_monitor([job]), job.fds)

    def _fork_monitor(self) -> Monitor:
        """Fork a monitor that waits for jobs; raises OSError when there is no process for it."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                fd = theirs.fileno()
                return Monitor(self._fork(lambda: run_monitor(jobs_from(theirs), fd), [fd]), ours)
        except OSError:
            ours.close()
            raise

    def fork_spare(self) -> None:
        """Fork a monitor for the next command, if there is none, so that it waits for one fork less."""
        if not self._idle:
            with contextlib.suppress(OSError):
                monitor = self._fork_monitor()
                self._idle[monitor.pid] = monitor

    def drop_spares(self) -> None:
        """End the monitors without a job; an idle sandbox needs its memory more."""
        while self._idle:
            self._dismiss(self._idle.popitem()[1])

    def rest(self, pid: int) -> None:
        """Take a monitor back below which nothing is left."""
        monitor = self._working.pop(pid, None)
        if monitor is None:
            return  # it ends by itself, or was let go of
        if (command := self._monitors.pop(pid, None)) is not None:
            command.monitor_ended(0)
        elif (managed := self._lingering.pop(pid, None)) is not None:
            managed.monitor = 0
        if len(self._idle) < MAX_IDLE:
            self._idle[pid] = monitor
        else:
            self._dismiss(monitor)

    def _dismiss(self, monitor: Monitor) -> None:
        self._leaving.add(monitor.pid)
        monitor.close()

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

    def let_go(self, monitor: int) -> None:
        """End a monitor whose command is over; what is below it becomes background."""
        processes = read_processes()
        for pid in descendants(processes, monitor, set()):
            self._background[pid] = processes[pid].begin
        self.left_behind = True
        # Until it is dead they stand below it, and are no command's any more.
        del self._monitors[monitor]
        self._leaving.add(monitor)
        if (given := self._working.pop(monitor, None)) is not None:
            given.close()
        send_signal((monitor,), signal.SIGKILL)

    def linger(self, monitor: int, managed: Managed) -> None:
        """Keep a monitor whose command is over: by it what is left is found, and signalled."""
        del self._monitors[monitor]
        self._lingering[monitor] = managed
        self.left_behind = True

    def signal(self, managed: Managed, number: int, to: str) -> int:
        """Signal a managed process; returns how many were reached.

        Args:
            to: `all` that is left of it, the `main` process alone, or the `foreground` of its
                terminal.
        """
        seen: set[int] = set()
        reached = 0
        group = managed.terminal.foreground() if managed.terminal is not None else 0
        for _ in range(SIGNAL_ROUNDS):  # what is signalled may have forked since it was looked for
            processes = read_processes()
            root = managed.monitor
            found = descendants(processes, root, set()) if root else []
            if to == "foreground":
                found = [pid for pid in found if processes[pid].group == group]
            elif to == "main":
                main = processes.get(managed.pid)
                found = [managed.pid] if main is not None and main.begin == managed.begin else []
            new = [pid for pid in found if pid not in seen]
            if not new:
                break
            seen.update(new)
            reached += sum(signal_exactly(pid, processes[pid].begin, number) for pid in new)
        return reached

    def unowned(self) -> list[int]:
        """Return the processes below this one that no running or former command accounts for."""
        processes = read_processes()
        self._background = {
            pid: begin
            for pid, begin in self._background.items()
            if pid in processes and processes[pid].begin == begin
        }
        spared = {*self._own(), *self._lingering, *self._background}
        return descendants(processes, os.getpid(), spared)

    def _own(self) -> set[int]:
        return {*self._monitors, *self._syncs, *self._idle}

    def leftovers(self) -> dict[int, Process]:
        """Return the living processes that belong to no running command."""
        processes = read_processes()
        found = descendants(processes, os.getpid(), self._own())
        over = self._leaving | self._lingering.keys()
        return {pid: processes[pid] for pid in found if pid not in over}

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

    def usage(self) -> tuple[int, int]:
        """Return how many processes and threads there are, and how many of those are leftovers."""
        processes = read_processes()
        found = descendants(processes, os.getpid(), self._own())
        over = self._leaving | self._lingering.keys()
        left = sum(processes[pid].threads for pid in found if pid not in over)
        self.left_behind = left > 0
        return sum(process.threads for process in processes.values()), left

    def count(self) -> int:
        """Return how many processes there are besides our own."""
        own = self._own() | self._leaving | self._lingering.keys()
        found = descendants(read_processes(), os.getpid(), set())
        return sum(1 for pid in found if pid not in own)

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
                if pid in self._own() or pid in self._lingering:
                    send_signal((pid,), signal.SIGCONT)
            else:
                self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        """Take note of a process that was reaped."""
        monitor = self._working.pop(pid, None) or self._idle.pop(pid, None)
        if monitor is not None:
            monitor.close()
        if pid in self._syncs:
            self._syncs[pid] = os.waitstatus_to_exitcode(status)
            self._synced.notify()
        elif pid in self._monitors:
            self._monitors.pop(pid).monitor_ended(status)
        elif pid in self._lingering:
            self._lingering.pop(pid).monitor = 0
        elif pid in self._leaving:
            self._leaving.remove(pid)
