"""How the processor is shared out between all sandboxes, the servers and the rest of the machine.

The kernel splits a group's weight over the processors that its processes want, so weights are per
processor here: whatever runs on one meets the sandboxes there with one processor's weight.
"""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes.local import cgroups
from oneseek_sandbox.runtimes.local.cgroups import SERVERS, Parent
from oneseek_sandbox.runtimes.local.first_process import prefer_session

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

__all__ = ["gather", "put_servers_first"]

_ALL_SANDBOXES: Final = "oneseek-sandboxes"
_FILES: Final = {1: "cpu.shares", 2: "cpu.weight"}
# An ordinary program has 1024 and 100. Version 2 leaves the servers where their service or
# container has them, with that weight; moving them would take them away from who supervises them.
_SANDBOXES: Final = {1: 1024, 2: 50}
_SERVERS: Final = {1: 2048}
_MOST: Final = {1: 262_144, 2: 10_000}


def gather(parents: list[Parent]) -> list[Parent]:
    """Return where to make the groups of sandboxes, so that all of them share one weight.

    Without it every further sandbox that burns would take from the servers.
    """
    return [_gathering(parent) if "cpu" in parent.controllers else parent for parent in parents]


def _gathering(parent: Parent) -> Parent:
    group = parent.path / _ALL_SANDBOXES
    try:
        group.mkdir(exist_ok=True)
        if parent.version == 2:
            wanted = " ".join(f"+{name}" for name in sorted(parent.controllers))
            (group / "cgroup.subtree_control").write_text(wanted, encoding="ascii")
        _weigh(group, parent.version, _SANDBOXES)
    except OSError:
        return parent
    return Parent(group, parent.version, parent.controllers)


def put_servers_first(pids: Iterable[int]) -> None:
    """Give servers twice the weight of all sandboxes together, as far as this user may.

    Args:
        pids: Processes of this machine; those that ended meanwhile are left out.
    """
    parents = [parent for parent in cgroups.find_parents() if "cpu" in parent.controllers]
    for parent in parents:
        if parent.version == 1:
            _move(parent.path / SERVERS, pids)
    if not parents:
        # The sessions of sandboxes' first processes are lifted, too.
        for pid in pids:
            with contextlib.suppress(OSError):
                if os.getsid(pid) == pid:  # else it is other programs' session as well
                    prefer_session(pid)


def _move(group: Path, pids: Iterable[int]) -> None:
    with contextlib.suppress(OSError):
        group.mkdir(exist_ok=True)
        _weigh(group, 1, _SERVERS)
    for pid in pids:
        with contextlib.suppress(OSError):
            (group / "cgroup.procs").write_text(str(pid), encoding="ascii")


def _weigh(group: Path, version: int, each: dict[int, int]) -> None:
    weight = min(each[version] * (os.cpu_count() or 1), _MOST[version])
    (group / _FILES[version]).write_text(str(weight), encoding="ascii")
