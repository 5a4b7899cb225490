"""All running commands."""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError, from_os_error
from oneseek_sandbox.guest.worker.children import Children
from oneseek_sandbox.guest.worker.command import Command
from oneseek_sandbox.guest.worker.headroom import Headroom
from oneseek_sandbox.guest.worker.managed import ProcessTable
from oneseek_sandbox.guest.worker.processes import send_signal, stop_everything, thaw
from oneseek_sandbox.guest.worker.scheduler import sleep
from oneseek_sandbox.guest.worker.shell import command_environment
from oneseek_sandbox.guest.worker.spool import Spools
from oneseek_sandbox.guest.worker.stdin_pipe import StdinPipe
from oneseek_sandbox.guest.worker.terminal import MAX_TERMINALS, Terminal

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.options import Options
    from oneseek_sandbox.guest.worker.paths import Workspace
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = ["END_ALL_SECONDS", "Commands"]

END_ALL_SECONDS = 1.0


class Commands:
    """The running commands."""

    def __init__(self, scheduler: Scheduler, workspace: Workspace, options: Options) -> None:
        self.scheduler = scheduler
        self.running: list[Command] = []
        self.spools = Spools((workspace.root, b"/tmp"))
        self.table = ProcessTable(scheduler, self.spools)
        self.children = Children(scheduler, options.score)
        self.headroom = Headroom(scheduler, self.children, self.running, options)
        self._workspace = workspace
        self._limit = options.max_commands
        self._memory_events = options.memory_events
        self._null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        self._own_env = self._env = command_environment(options.workspace)
        self.given = (0, 0)

    def give(self, env: dict[str, str], version: tuple[int, int]) -> None:
        """Add variables to those of every command that starts from now on; later ones stay.

        Args:
            version: Generation of the claim that brought them, and how often they changed before.
        """
        if version >= self.given:
            added = {name.encode(): value.encode() for name, value in env.items()}
            self._env, self.given = {**self._own_env, **added}, version

    def start(self, spec: CommandSpec) -> Command:
        """Start a command; raises WorkerError when it does not come to that."""
        if len(self.running) >= self._limit:
            raise WorkerError(
                "too_many_commands",
                f"{self._limit} commands run already; wait for one or cancel it.",
            )
        self._check_background(spec)
        opened: list[int] = []
        try:
            opened.append(self._open_cwd(spec))
            if spec.stdin_path is not None:
                opened.append(self._open_stdin(spec.stdin_path))
            managed = None if spec.request_id is None else self.table.begin(spec)
            if managed is not None and spec.stdin_open:
                terminal = spec.terminal
                managed.stdin = StdinPipe() if terminal is None else Terminal(terminal)
                opened.append(managed.stdin.child_end)
            command = Command(self, spec, managed)
            command.start(opened[0], opened[-1] if opened[1:] else self._null, self._env)
        except BaseException:
            if spec.request_id is not None:
                self.table.forget(spec.request_id)
            raise
        finally:
            for fd in opened:
                os.close(fd)
        self.running.append(command)
        self.headroom.keep()
        self.children.watch(command)
        if len(self.running) > 1:
            for other in self.running:
                other.shared = True
        return command

    @property
    def lasting(self) -> int:
        """How many run that keep the sandbox: all but background processes without a limit."""
        return sum(command.spec.timeout_ms is not None for command in self.running)

    def _check_background(self, spec: CommandSpec) -> None:
        """Keep room for commands that somebody waits for."""
        most = max(1, self._limit // 2)
        if spec.background and sum(c.spec.background for c in self.running) >= most:
            raise WorkerError(
                "too_many_commands",
                f"{most} background processes run already, which is the most; end one first.",
            )
        terminals = sum(c.spec.terminal is not None for c in self.running)
        if spec.terminal is not None and terminals >= MAX_TERMINALS:
            raise WorkerError(
                "too_many_commands",
                f"{terminals} terminals are open already, which is the most; end one first.",
            )

    async def prepare(self) -> None:
        """Fork the spare monitor when nobody waits for anything."""
        await sleep(0.001)
        if not self.running:
            self.children.fork_spare()

    def finished(self, command: Command) -> None:
        """Forget a command that has its answer."""
        self.running.remove(command)
        self.scheduler.spawn(self.prepare())

    async def stop_all(self, reason: str) -> None:
        """Kill every process of the sandbox at once, and wait until the commands have ended."""
        stopped = stop_everything()
        commands = list(self.running)
        for command in commands:
            command.stop(reason)
        await self.children.kill(lambda: list(self.children.leftovers()))
        for command in commands:
            while not command.finished:
                await command.changed.wait()
        if stopped:
            thaw()

    async def end_all(self) -> bool:
        """End every process of the sandbox: TERM, grace, KILL; False when there was none."""
        commands = list(self.running)
        left = list(self.children.leftovers())
        for command in commands:
            command.stop("cancelled")
        send_signal(left, signal.SIGTERM, signal.SIGCONT)
        deadline = time.monotonic() + END_ALL_SECONDS
        while time.monotonic() < deadline and self.children.leftovers():
            await sleep(0.02)
        await self.children.kill(lambda: list(self.children.leftovers()))
        for command in commands:
            await command.cancel()
        # What a cancelled command had let go of meanwhile.
        await self.children.kill(lambda: list(self.children.leftovers()))
        return bool(commands or left)

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

    def _open_cwd(self, spec: CommandSpec) -> int:
        try:
            if spec.cwd is None:
                return self._workspace.open_root()
            return self._workspace.open_directory(spec.cwd, os.O_PATH)
        except OSError as error:
            raise from_os_error(error, spec.cwd or "the workspace") from None

    def _open_stdin(self, path: str) -> int:
        try:
            return self._workspace.open_file(path)
        except OSError as error:
            raise from_os_error(error, path) from None
