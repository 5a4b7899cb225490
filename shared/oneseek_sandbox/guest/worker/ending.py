"""Why a command ended, as its answer says it."""

from __future__ import annotations

import errno
import os

__all__ = ["AT_ONCE", "cannot_run", "cause_of", "exit_code_for"]

AT_ONCE = frozenset(("monitor_killed", "process_limit", "disk_limit"))  # ended without a grace


def cannot_run(command: str | list[str], number: int) -> tuple[str, int]:
    """Return why the kernel did not run a command, and the exit code that a shell gives for that."""
    name = command[0] if isinstance(command, list) else "sh"
    missing = number in (errno.ENOENT, errno.ENOTDIR)
    return f"cannot run {name[:500]!r}: {os.strerror(number)}", 127 if missing else 126


def exit_code_for(reason: str | None, exit_code: int | None) -> int:
    """Return the exit code of a command that was ended for a reason, or by itself."""
    if reason == "timeout":
        return 124
    return 137 if exit_code is None else exit_code


def cause_of(reason: str | None, code: int, kills: int, *, shared: bool) -> str | None:
    """Return what a command was killed by.

    Args:
        kills: How many processes the kernel killed for lack of memory meanwhile.
        shared: Another command ran beside: then only a SIGKILL says whose memory it was.
    """
    if reason not in (None, "monitor_killed") or code == 0:
        return reason
    mine = code == 137 or not shared
    return "out_of_memory" if mine and kills else reason
