"""One command, from fork to answer."""

from __future__ import annotations

import errno
import os
import signal
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import NotStartedError, WorkerError, from_os_error
from oneseek_sandbox.guest.worker.ending import AT_ONCE, cannot_run, cause_of, exit_code_for
from oneseek_sandbox.guest.worker.job import Pipes
from oneseek_sandbox.guest.worker.output import READ_BYTES, Answer, Capture, Listener
from oneseek_sandbox.guest.worker.processes import descendants, read_processes, send_signal
from oneseek_sandbox.guest.worker.scheduler import Condition, read_ready, sleep, turn
from oneseek_sandbox.guest.worker.shell import make_job

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.commands import Commands
    from oneseek_sandbox.guest.worker.managed import Managed

__all__ = ["BACKGROUND_SECONDS", "EXITING_SECONDS", "Command"]

BACKGROUND_SECONDS = 0.25
EXITING_SECONDS = 0.02


class Command:
    """One execute, from fork to answer.

    Args:
        managed: Its record, when a caller may find it again.
    """

    def __init__(self, commands: Commands, spec: CommandSpec, managed: Managed | None) -> None:
        self._commands = commands
        self._managed = managed
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
            name: Capture(spec.max_output_bytes, commands.spools, spec.least_tail)
            for name in ("stdout", "stderr")
        }
        self._terminal = None if managed is None else managed.terminal
        self._open_streams = 2 if self._terminal is None else 1
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

    def start(self, cwd: int, stdin: int, env: dict[bytes, bytes]) -> None:
        """Start it under a monitor; raises WorkerError when there is no process or memory."""
        fds: list[int] = []
        pipes = None
        try:
            pipes = Pipes(self._terminal)
            job = make_job(self.spec, pipes, cwd, stdin, env, fds, self._terminal)
            self.monitor = self._commands.children.start_monitor(job)
        except OSError as error:
            if pipes is not None:
                pipes.close()
            raise NotStartedError(error.errno or 0) from None
        finally:
            for fd in fds:
                os.close(fd)
        pipes.keep_reading_ends()
        if self._managed is not None:
            self._managed.monitor = self.monitor
        spawn = self._commands.scheduler.spawn
        spawn(self._read_messages(pipes.messages))
        for name, fd in pipes.outputs.items():
            spawn(self._read_output(fd, name))
        spawn(self._supervise())

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
        if self._managed is not None:
            self._managed.monitor = 0
        self.changed.notify()

    async def _read_messages(self, fd: int) -> None:
        buffer = b""
        while (data := await read_ready(fd, 4096)) != b"":
            *lines, buffer = (buffer + (data or b"")).split(b"\n")
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
            if self._managed is not None:
                self._managed.started(value)
        elif kind == b"exit":
            self._ended = time.monotonic()
            self._exit_code = 128 - value if value < 0 else value
        elif kind == b"alone":
            self._alone = True
            self._commands.children.rest(self.monitor)
        elif kind == b"cwd":
            self.error = from_os_error(OSError(value, ""), self.spec.cwd or "the workspace")
        else:
            self._take_failure(value)

    def _take_failure(self, number: int) -> None:
        if number in (errno.EAGAIN, errno.ENOMEM):
            self.error = NotStartedError(number)
            return
        text, code = cannot_run(self.spec.command, number)
        if self.spec.background:
            self.error = WorkerError("cannot_execute", text + ". Nothing was started.")
            return
        self.started = True
        self._ended = time.monotonic()
        self._exit_code = code
        self._take_output("stderr", f"{text}\n".encode(errors="replace"))

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
            if self.finished and self._terminal is not None:
                break  # what lives on has lost its terminal
            hang_up = None if self._terminal is None else self.changed
            data = await read_ready(fd, READ_BYTES, hang_up)
            if data is None:
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
        if self._managed is not None:
            self._commands.table.feed(self._managed, name, data)
        if self.listener is not None:
            self.listener.put(name, data)
            self.changed.notify()

    async def _until(self, reached: Callable[[], bool], deadline: float | None) -> bool:
        while not reached():
            if deadline is not None and time.monotonic() >= deadline:
                return False
            await self.changed.wait(deadline)
        return True

    async def _supervise(self) -> None:
        timeout_ms = self.spec.timeout_ms
        deadline = None if timeout_ms is None else self._began + timeout_ms / 1000
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
        await self._commands.children.kill(self.processes)
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
        return self._commands.children.unowned() if self.monitor_failed else []

    def _finish(self, reason: str | None) -> None:
        below = self.monitor != 0 and not self._alone
        background = below or self._open_streams > 0
        if below and self._managed is not None:
            self._commands.children.linger(self.monitor, self._managed)
        elif below:
            self._commands.children.let_go(self.monitor)
        if self.error is None:
            if reason is not None:
                self._ended = time.monotonic()
            code = exit_code_for(reason, self._exit_code)
            kills = max(0, self._commands.count_memory_kills() - self._kills_before)
            fields: dict[str, Any] = {
                "exit_code": code,
                "timed_out": reason == "timeout",
                "killed_by": cause_of(reason, code, kills, shared=self.shared),
                "oom_kills": kills,
                "duration_ms": int((max(self._ended, self._began) - self._began) * 1000),
                "background": background,
            }
            if ended := self._commands.headroom.take_ended():
                fields["ended"] = ended
            self.answer = Answer(fields, self._captures["stdout"], self._captures["stderr"])
            if self._managed is not None:
                self._commands.table.ended(self._managed, fields)
        elif self._managed is not None:
            self._commands.table.forget(self._managed.request_id)
        self._captures.clear()
        self._commands.finished(self)
        self.changed.notify()
