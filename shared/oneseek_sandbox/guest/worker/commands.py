"""All commands, and the processes that belong to none of them."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import (
    COUNT_SECONDS,
    COUNT_SHARE,
    CROWDED_SECONDS,
    END_ALL_SECONDS,
    KILL_SECONDS,
    MAX_ENDED_NAMES,
    PRESSED_SECONDS,
    WorkerError,
    from_os_error,
)
from oneseek_sandbox.guest.worker.command import Command
from oneseek_sandbox.guest.worker.monitor import Job, Spare, close_all_but, run_monitor, run_sync
from oneseek_sandbox.guest.worker.processes import (
    descendants,
    freeze,
    read_process,
    read_processes,
    send_signal,
    stop_everything,
    thaw,
)
from oneseek_sandbox.guest.worker.scheduler import Condition, Wait, sleep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import NoReturn

    from oneseek_sandbox.guest.worker.base import NotStartedError
    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.options import Options
    from oneseek_sandbox.guest.worker.paths import Workspace
    from oneseek_sandbox.guest.worker.processes import Process
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = ["Commands", "command_environment", "has_network"]


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
