"""Which limits of a sandbox this user cannot set on this machine, in words for its operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.runtimes.local import cgroups, host

if TYPE_CHECKING:
    from oneseek_sandbox.settings import Settings

__all__ = ["missing_limits"]


def missing_limits(settings: Settings) -> list[str]:
    """Return the limits that need a control group and have none, each with what holds instead."""
    found = frozenset[str]().union(*(parent.controllers for parent in cgroups.find_parents()))
    missing = []
    if "memory" not in found:
        missing.append(f"memory ({settings.memory_limit_mb} MiB for each process instead)")
    if "pids" not in found and not host.limits_processes():
        missing.append("processes (counted by the worker instead)")
    if "cpu" not in found and settings.cpu_limit:
        missing.append("CPU")
    return missing
