"""What is seen of a system from outside: its sandboxes' processes and files, and what is left."""

from __future__ import annotations

import contextlib
import json
import os
import signal
from dataclasses import dataclass
from pathlib import Path

from tests.faults.live.open_logs import OpenLogs

from oneseek_sandbox.runtimes.local import host, liveness, processes

__all__ = ["RunLog", "Seen", "processes_of", "seen_sandboxes", "signal_all"]

LOG = ".ran"


@dataclass(frozen=True, slots=True)
class Seen:
    """A sandbox as its record says; `first` is the process id of its PID 1 while it lives."""

    name: str
    thread: str
    sandbox_id: str
    groups: tuple[str, ...]
    user: int | None
    folder: Path

    @property
    def monitor(self) -> int | None:
        """The process id of bubblewrap's own process, which lives as long as the sandbox."""
        status = self.folder / "status"
        if not liveness.is_alive(status):
            return None
        pid = liveness.read_status(status).get("monitor-pid")
        return pid if isinstance(pid, int) else None

    @property
    def first(self) -> int | None:
        """The process id, here, of PID 1; None when it does not live (any more)."""
        monitor, pid = self.monitor, liveness.first_process(self.folder / "status")
        return pid if pid and monitor and processes.parent(pid) == monitor else None


def seen_sandboxes(home: Path, thread: str | None = None) -> list[Seen]:
    """Return the sandboxes that have a record and are not ending, of one thread or of all."""
    found = []
    for path in sorted(home.glob("sandboxes/*/object.json")):
        try:
            record = json.loads(path.read_text("utf-8"))
            labels = record["labels"]
            if record["ending"] or thread not in (None, labels["thread"]["thread_id"]):
                continue
            found.append(
                Seen(
                    record["name"],
                    labels["thread"]["thread_id"],
                    labels["sandbox_id"],
                    tuple(record["groups"]),
                    record["host_user"],
                    path.parent,
                )
            )
        except (OSError, ValueError, KeyError, TypeError):
            continue  # being replaced, or gone
    return found


def children(pid: int) -> list[int]:
    """Return the living children of a process."""
    return [child for child in processes.all_processes() if processes.parent(child) == pid]


def processes_of(sandbox: Seen) -> list[int]:
    """Return all processes inside a sandbox, PID 1 last."""
    first = sandbox.first
    if first is None:
        return []
    found, level = [first], [first]
    while level := [child for pid in level for child in children(pid)]:
        found[:0] = level
    return found


def signal_all(pids: list[int], number: int) -> int:
    """Send a signal to processes, and return how many were there."""
    sent = 0
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)
            sent += 1
    return sent


class RunLog(OpenLogs):
    """Counts what commands wrote about themselves, also of sandboxes whose files are gone since.

    Every command of the traffic that may run once adds a line to a file of its workspace, which is
    held open here from when somebody was given the sandbox. Before that nothing may be put there:
    whoever takes a sandbox over tells by its empty workspace that nobody was given it yet.
    """

    def __init__(self, home: Path) -> None:
        super().__init__()
        self._home = home
        self.seen: dict[str, Seen] = {}

    def look(self) -> None:
        """Note every sandbox that is new, and open the logs that commands have begun."""
        for sandbox in seen_sandboxes(self._home):
            self.seen[sandbox.name] = sandbox
            self._open_log(sandbox, 0)

    def begin(self, sandbox_id: str) -> None:
        """Begin the log of a sandbox that somebody was given just now, or before."""
        for sandbox in seen_sandboxes(self._home):
            if sandbox.sandbox_id == sandbox_id:
                self._open_log(sandbox, os.O_CREAT)

    def _open_log(self, sandbox: Seen, create: int) -> None:
        if sandbox.name not in self._open:
            with contextlib.suppress(OSError):  # not begun, or gone
                self._open[sandbox.name] = self._opened(sandbox.folder / "workspace", create)

    @staticmethod
    def _opened(workspace: Path, create: int) -> int:
        owner = workspace.stat()
        flags = os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW | create
        descriptor = os.open(workspace / LOG, flags, 0o644)
        if create and os.geteuid() == 0:
            os.fchown(descriptor, owner.st_uid, owner.st_gid)
        return descriptor

    def let_time_pass(self) -> None:
        """Make what was begun before now old enough for a cleanup to see that nobody goes on.

        It leaves user ids, and folders without a record, alone for a minute: a sandbox may be
        being made with them.
        """
        for kind in ("users", "sandboxes"):
            for path in (self._home / kind).glob("*"):
                with contextlib.suppress(FileNotFoundError):
                    os.utime(path, (0, 0))

    def left(self) -> list[str]:
        """Name what is left of the sandboxes that were seen, and in the folders for them."""
        found = [
            f"folder {path}"
            for kind in ("sandboxes", "ending", "users", "damaged")
            for path in sorted((self._home / kind).glob("*"))
        ]
        found += [f"socket {path}" for path in self._sockets() if path.suffix == ".sock"]
        for sandbox in self.seen.values():
            found += [f"cgroup {group}" for group in sandbox.groups if Path(group).exists()]
        return found + [f"process {text}" for text in self._processes()]

    def _sockets(self) -> list[Path]:
        return sorted(host.socket_folder(self._home.absolute()).glob("*"))

    def _processes(self) -> list[str]:
        users = {sandbox.user for sandbox in self.seen.values()} - {None}
        return [
            f"{pid} {processes.command_name(pid)}"
            for pid in processes.all_processes()
            if self._is_ours(pid, users)
        ]

    def _is_ours(self, pid: int, users: set[int | None]) -> bool:
        if users:
            return processes.real_user(pid) in users
        return any(
            processes.shows_workspace(pid, name) or processes.in_group(pid, name)
            for name in self.seen
        )

    def kill_left(self) -> None:
        """End what is left, so that one finding is not many."""
        users = {sandbox.user for sandbox in self.seen.values()} - {None}
        ours = [pid for pid in processes.all_processes() if self._is_ours(pid, users)]
        signal_all(ours, signal.SIGKILL)
