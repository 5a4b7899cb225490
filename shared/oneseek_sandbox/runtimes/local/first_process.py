"""What is done to a sandbox's PID 1 from outside, once it is up: its limit and its priority."""

from __future__ import annotations

import contextlib
import os
import resource
from pathlib import Path
from typing import Final

from oneseek_sandbox.runtimes.local import host

__all__ = ["limit_processes", "prefer_session", "put_first"]

_PRIORITY: Final = -10


def limit_processes(pid: int, count: int) -> None:
    """Bound an ordinary user's processes, once the sandbox has its own user namespace.

    Before, all processes of that user would count. Root did it at the launch.
    """
    if os.geteuid() == 0 or not host.limits_processes():
        return
    with contextlib.suppress(ProcessLookupError):
        resource.prlimit(pid, resource.RLIMIT_NPROC, (count, count))


def put_first(pid: int, *, grouped: bool) -> None:
    """Let PID 1 outweigh what it runs, where sessions share the processor out; only root can.

    Args:
        grouped: A control group shares the processor out. Then its lower niceness does it. More
            would hurt: the group's weight is split over processors by what each has to run, and a
            command beside a much heavier PID 1 would have next to none of it.
    """
    if not grouped:
        prefer_session(pid)


def prefer_session(pid: int) -> None:
    """Give a process's session, whose leader it is, more of the processor; only root can."""
    if os.geteuid() == 0:
        with contextlib.suppress(OSError):
            Path(f"/proc/{pid}/autogroup").write_text(str(_PRIORITY), encoding="ascii")
