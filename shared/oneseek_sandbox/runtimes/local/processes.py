"""What runs on this machine, read from /proc, and how to end it without hitting a stranger."""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = [
    "all_processes",
    "command_name",
    "in_group",
    "kill_if",
    "of_user",
    "parent",
    "real_user",
    "shows_workspace",
    "start_time",
]

_PROC = Path("/proc")
_PARENT, _STATE, _STARTED = 1, 0, 19


def _stat(pid: int) -> tuple[str, list[str]] | None:
    try:
        text = (_PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    # A zombie is dead: first processes of containers often do not reap.
    return None if fields[_STATE] in "ZX" else (name, fields)


def start_time(pid: int) -> int | None:
    """Return when a process started, in ticks since boot; None when it does not live."""
    stat = _stat(pid)
    return int(stat[1][_STARTED]) if stat else None


def parent(pid: int) -> int | None:
    """Return the process id of the parent; None when the process does not live."""
    stat = _stat(pid)
    return int(stat[1][_PARENT]) if stat else None


def command_name(pid: int) -> str | None:
    """Return the kernel's short name of a process; None when it does not live."""
    stat = _stat(pid)
    return stat[0] if stat else None


def real_user(pid: int) -> int | None:
    """Return the real uid of a living process as this machine numbers it."""
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The kernel escapes line ends in a process's name, so no process can forge a field.
    fields = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return None if fields["State"].split()[0] in "ZX" else int(fields["Uid"].split()[0])


def of_user(user: int) -> set[int]:
    """Return the living processes whose real uid is `user`, by one read each."""
    return {pid for pid in all_processes() if real_user(pid) == user}


def shows_workspace(pid: int, name: str) -> bool:
    """Return whether the workspace of sandbox `name` is mounted where a process lives.

    The kernel writes this table, so no process can claim it falsely, and names are random.
    """
    try:
        mounts = (_PROC / str(pid) / "mountinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return f"/{name}/workspace " in mounts and _stat(pid) is not None


def in_group(pid: int, name: str) -> bool:
    """Return whether a living process is in a control group of sandbox `name`."""
    try:
        text = (_PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return f"/oneseek-{name}\n" in text and _stat(pid) is not None


def all_processes() -> Iterator[int]:
    """Yield every process id of this machine."""
    for entry in os.scandir(_PROC):
        if entry.name.isdigit():
            yield int(entry.name)


def kill_if(pid: int, still: Callable[[int], bool]) -> bool:
    """Kill a process if `still` holds for it; the id cannot be reused between look and kill."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        if not still(pid):
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)
    return True
