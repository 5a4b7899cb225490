"""The processes that a caller can find again: by the `request_id` that started them."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.process_log import ProcessLog
from oneseek_sandbox.guest.worker.processes import read_process
from oneseek_sandbox.guest.worker.scheduler import Condition
from oneseek_sandbox.guest.worker.terminal import Terminal

if TYPE_CHECKING:
    from typing import Any

    from oneseek_sandbox.guest.worker.command_spec import CommandSpec
    from oneseek_sandbox.guest.worker.scheduler import Scheduler
    from oneseek_sandbox.guest.worker.spool import Spools
    from oneseek_sandbox.guest.worker.stdin_pipe import StdinPipe

__all__ = ["MAX_ENDED", "MAX_LOGS_BYTES", "SHOWN_BYTES", "Managed", "ProcessTable"]

MAX_ENDED = 1000
MAX_LOGS_BYTES = 16 * 1024 * 1024
SHOWN_BYTES = 200  # of a command


class Managed:
    """One process: what is known of it while it runs and after, and its log."""

    __slots__ = (
        "_spec_timeout_ms", "begin", "changed", "ended_ms", "exit_code", "killed_by", "leftover",
        "log", "monitor", "number", "pid", "readers", "request_id", "shown_command", "started_ms",
        "stdin",
    )  # fmt: skip

    def __init__(self, spec: CommandSpec, number: int, log: ProcessLog, changed: Condition) -> None:
        self.request_id = spec.request_id or ""
        self.number = number
        self.log = log
        self.changed = changed
        self.readers = 0
        self.stdin: StdinPipe | None = None
        self.pid = self.begin = 0  # of its main process
        self.monitor = 0  # below which all of it is; 0 when nothing is left
        self.started_ms = time.time_ns() // 1_000_000
        self.ended_ms: int | None = None
        self.exit_code: int | None = None
        self.killed_by: str | None = None
        self.leftover = False
        self._spec_timeout_ms = spec.timeout_ms
        words = [spec.command] if isinstance(spec.command, str) else spec.command
        shown = " ".join(words).encode()[:SHOWN_BYTES]
        self.shown_command = shown.decode(errors="ignore")

    @property
    def terminal(self) -> Terminal | None:
        """Its terminal, open or not; None when it has none."""
        return self.stdin if isinstance(self.stdin, Terminal) else None

    @property
    def is_running(self) -> bool:
        """Whether its main process runs, or its output is not all there yet."""
        return self.ended_ms is None

    def started(self, pid: int) -> None:
        """Note which process it is."""
        self.pid = pid
        process = read_process(pid)
        if process is not None and process.parent == self.monitor:
            self.begin = process.begin

    def ended(self, fields: dict[str, Any]) -> None:
        """Note how it ended."""
        self.ended_ms = time.time_ns() // 1_000_000
        self.exit_code = fields["exit_code"]
        self.killed_by = fields["killed_by"]
        self.leftover = fields["background"]
        if self.stdin is not None:
            self.stdin.close()
        self.changed.notify()

    def describe(self) -> dict[str, Any]:
        """Return what an answer says of it."""
        timeout_ms, stdin, terminal = self._spec_timeout_ms, self.stdin, self.terminal
        return {
            "request_id": self.request_id,
            "command": self.shown_command,
            "state": "running" if self.is_running else "exited",
            "pid": self.pid,
            "started_ms": self.started_ms,
            "ended_ms": self.ended_ms,
            "exit_code": self.exit_code,
            "killed_by": self.killed_by,
            "deadline_ms": None if timeout_ms is None else self.started_ms + timeout_ms,
            "leftover": self.leftover,
            "terminal": terminal and {"columns": terminal.size[0], "rows": terminal.size[1]},
            "stdin_open": stdin is not None and stdin.is_open,
            "stdin_offset": 0 if stdin is None else stdin.offset,
            "log": {"first_offset": self.log.first, "next_offset": self.log.end},
        }


class ProcessTable:
    """All of them, by the order of their starts. The oldest that have ended are forgotten first."""

    def __init__(self, scheduler: Scheduler, spools: Spools) -> None:
        self._scheduler = scheduler
        self._spools = spools
        self._all: OrderedDict[str, Managed] = OrderedDict()
        self._ended: OrderedDict[str, Managed] = OrderedDict()
        self._number = 0
        self._logs_bytes = 0

    def begin(self, spec: CommandSpec) -> Managed:
        """Return the record of a process that is about to start."""
        self._number += 1
        log = ProcessLog(self._spools, spec.log_bytes)
        managed = Managed(spec, self._number, log, Condition(self._scheduler))
        self.forget(managed.request_id)
        self._all[managed.request_id] = managed
        return managed

    def forget(self, request_id: str) -> None:
        """Drop what is known of a process."""
        managed = self._all.pop(request_id, None)
        self._ended.pop(request_id, None)
        if managed is not None:
            self._logs_bytes -= managed.log.size
            if managed.stdin is not None:
                managed.stdin.close()

    def find(self, request_id: str) -> Managed:
        """Return a process; one that is not known is refused."""
        managed = self._all.get(request_id)
        if managed is None:
            raise WorkerError("process_not_found", "No process has this request_id.")
        return managed

    def list(self, after: int) -> list[Managed]:
        """Return those that were started after the one of a number."""
        return [managed for managed in self._all.values() if managed.number > after]

    def feed(self, managed: Managed, name: str, data: bytes) -> None:
        """Add output to a log; when all logs together are too much, old ones lose theirs."""
        before = managed.log.size
        managed.log.feed(name, data)
        self._logs_bytes += managed.log.size - before
        if self._logs_bytes > MAX_LOGS_BYTES:
            self._drop_logs(managed)
        managed.changed.notify()

    def ended(self, managed: Managed, fields: dict[str, Any]) -> None:
        """Note how a process ended."""
        managed.ended(fields)
        self._ended[managed.request_id] = managed
        while len(self._ended) > MAX_ENDED:
            self.forget(next(iter(self._ended)))

    def _drop_logs(self, last: Managed) -> None:
        for managed in [*self._ended.values(), last]:
            if self._logs_bytes <= MAX_LOGS_BYTES:
                return
            self._logs_bytes -= managed.log.size
            managed.log.drop()
