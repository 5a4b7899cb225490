"""Whether a sandbox lives, and how it is ended for certain.

Its monitor (the outer bubblewrap process) holds a lock on the status file and nothing else does,
so the kernel itself says whether it lives. The file has a line of the monitor's identity, then what
bubblewrap writes: the process id of PID 1, and at the end its exit code.
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.runtimes.local import cgroups, processes

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.local.record import Record

__all__ = [
    "create_status",
    "end_processes",
    "first_process",
    "is_alive",
    "log_tail",
    "read_status",
]

_END_SECONDS = 10.0
_SHORTEST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.002, 0.05
_STATUS_BYTES = 65_536
_LOG_BYTES = 4096


def create_status(path: Path) -> int:
    """Make an empty status file and return a descriptor that holds its lock."""
    path.unlink(missing_ok=True)
    descriptor = os.open(
        path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600
    )
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    return descriptor


def is_alive(status: Path) -> bool:
    """Return whether the monitor lives."""
    try:
        descriptor = os.open(status, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    else:
        return False
    finally:
        os.close(descriptor)


def read_status(status: Path) -> dict[str, Any]:
    """Return what the status file says, all lines together; empty when there is none."""
    try:
        with status.open("rb") as file:
            text = file.read(_STATUS_BYTES).decode("utf-8", "replace")
    except FileNotFoundError:
        return {}
    values: dict[str, Any] = {}
    for line in text.splitlines():
        try:
            values |= json.loads(line)
        except (ValueError, TypeError):
            continue  # the last line may be half written
    return values


def first_process(status: Path) -> int | None:
    """Return the process id, on this machine, of the sandbox's PID 1 once bubblewrap made it."""
    pid = read_status(status).get("child-pid")
    return pid if isinstance(pid, int) else None


def log_tail(folder: Path) -> str:
    """Return the last lines that bubblewrap or the worker wrote to stderr, as one line."""
    try:
        with (folder / "start.log").open("rb") as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - _LOG_BYTES))
            text = file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return ""
    return "; ".join(line for line in text.splitlines()[-3:] if line.strip())


def end_processes(record: Record, folder: Path) -> bool:
    """Kill all processes of a sandbox and wait; False when some live on after 10 s."""
    groups = [Path(group) for group in record.groups]
    status = folder / "status"
    deadline = time.monotonic() + _END_SECONDS
    pause = _SHORTEST_PAUSE_SECONDS
    while True:
        _kill_named(status)
        cgroups.kill_all(groups)
        held = is_alive(status)
        left = _left(record, status, groups, held=held)
        if not left and not held:
            return True
        for pid in left:
            processes.kill_if(pid, lambda pid: _belongs(pid, record))
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)


def _kill_named(status: Path) -> None:
    """Kill the processes that the status file names."""
    values = read_status(status)
    monitor, started = values.get("monitor-pid"), values.get("monitor-started")
    if isinstance(monitor, int):
        # The first process goes first: without its monitor it could not be told by its parent.
        child = values.get("child-pid")
        if isinstance(child, int) and processes.start_time(monitor) == started:
            processes.kill_if(child, lambda pid: processes.parent(pid) == monitor)
        processes.kill_if(monitor, lambda pid: processes.start_time(pid) == started)
    pasta, pasta_started = values.get("pasta-pid"), values.get("pasta-started")
    if isinstance(pasta, int):
        processes.kill_if(pasta, lambda pid: processes.start_time(pid) == pasta_started)


def _belongs(pid: int, record: Record) -> bool:
    if record.host_user is not None and processes.real_user(pid) == record.host_user:
        return True
    return processes.shows_workspace(pid, record.name) or processes.in_group(pid, record.name)


def _left(record: Record, status: Path, groups: list[Path], *, held: bool) -> set[int]:
    """Return living processes that belong to the sandbox, by what identifies them here.

    PID 1 dies last of its namespace, so every process of the machine is looked at, which is dear,
    only once nothing that is named lives, or when the lock is `held` by a process that is not.
    """
    found = {pid for pid in cgroups.members(groups) if processes.start_time(pid) is not None}
    child = first_process(status)
    if child and _belongs(child, record):
        found.add(child)
    if found:
        return found
    if held:
        return {pid for pid in processes.all_processes() if _belongs(pid, record)}
    return set() if record.host_user is None else processes.of_user(record.host_user)
