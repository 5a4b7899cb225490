"""Memory, process and processor limits of a sandbox, where control groups can be written.

Version 1 has a tree per controller, version 2 one tree; a sandbox gets a group below the server's
own, so that the limits of a container around the server still hold, or in version 2 beside it.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "SERVERS",
    "Limits",
    "Parent",
    "create_groups",
    "find_parents",
    "kill_all",
    "members",
    "memory_events",
    "out_of_memory_kills",
    "remove_groups",
]

SERVERS: Final = "oneseek-servers"
"""The group of servers that were given one (by `shares`, or by systemd), below where sandboxes are put."""

_WANTED: Final = ("memory", "pids", "cpu")
_PERIOD_US: Final = 100_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What a sandbox may use; `cpus` 0 means no limit."""

    memory_bytes: int
    processes: int
    cpus: float = 0


@dataclass(frozen=True, slots=True)
class Parent:
    """A group in which this process may make others, and the controllers it gets there."""

    path: Path
    version: int
    controllers: frozenset[str]


def find_parents(proc: Path = Path("/proc/self")) -> list[Parent]:
    """Return the groups to make the sandboxes' groups in; empty where none can be written."""
    own = _own_groups((proc / "cgroup").read_text(encoding="utf-8"))
    found: list[Parent] = []
    covered: set[str] = set()
    for version, mount, root, controllers in _mounts((proc / "mountinfo").read_text("utf-8")):
        key = frozenset(controllers) & own.keys() if version == 1 else {""}
        for name in key:
            parent = _writable_parent(version, mount, root, own[name], name)
            if parent is not None and not parent.controllers & covered:
                found.append(parent)
                covered |= parent.controllers
    return found


def _own_groups(text: str) -> dict[str, str]:
    """Map each controller of version 1 to our group's path, and the empty name for version 2."""
    groups: dict[str, str] = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        groups |= dict.fromkeys(controllers.split(","), path.removesuffix(f"/{SERVERS}") or "/")
    return groups


def _mounts(text: str) -> Iterator[tuple[int, Path, str, list[str]]]:
    for line in text.splitlines():
        left, _, right = line.partition(" - ")
        root, mount = left.split()[3:5]
        kind, _, options = [*right.split(), "", ""][:3]
        if kind == "cgroup2":
            yield 2, Path(mount), root, []
        elif kind == "cgroup":
            wanted = [name for name in options.split(",") if name in _WANTED]
            yield 1, Path(mount), root, wanted


def _writable_parent(version: int, mount: Path, root: str, own: str, name: str) -> Parent | None:
    relative = own.removeprefix(root.rstrip("/")).strip("/")
    place = mount / relative
    if version == 2 and (place / SERVERS).is_dir():
        _share_controllers(place)
    # Groups with processes cannot share their controllers out in version 2, so look further up.
    places = [place] if version == 1 else [place, *place.parents]
    for candidate in places:
        if not candidate.is_relative_to(mount):
            break
        controllers = frozenset({name}) if version == 1 else _shared_controllers(candidate)
        if controllers and _can_hold_processes(candidate):
            return Parent(candidate, version, controllers)
    return None


def _share_controllers(group: Path) -> None:
    """Let the groups below one that was delegated to us have what it has.

    systemd leaves that to whom it delegates: DelegateSubgroup=oneseek-servers puts the server below
    its unit's group, which then holds no process and may share.
    """
    for name in _WANTED:
        with contextlib.suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{name}", encoding="ascii")


def _shared_controllers(group: Path) -> frozenset[str]:
    try:
        shared = (group / "cgroup.subtree_control").read_text(encoding="ascii").split()
    except OSError:
        return frozenset()
    return frozenset(shared) & set(_WANTED)


def _can_hold_processes(parent: Path) -> bool:
    """Try it with a short-lived child: modes and owners do not tell (delegation rules do)."""
    group = parent / f"oneseek-probe-{os.getpid()}"
    try:
        group.mkdir()
    except OSError:
        return False
    try:
        return os.access(group / "cgroup.procs", os.W_OK) and os.access(
            parent / "cgroup.procs", os.W_OK
        )
    finally:
        with contextlib.suppress(OSError):
            group.rmdir()


def create_groups(parents: list[Parent], name: str, limits: Limits) -> list[Path]:
    """Make the groups of sandbox `name` with their limits.

    Raises:
        OSError: A group cannot be made; those made before are removed again.
    """
    made: list[Path] = []
    try:
        for parent in parents:
            group = parent.path / f"oneseek-{name}"
            group.mkdir(exist_ok=True)
            made.append(group)
            for file, value in _values(parent, limits):
                # Swap accounting and cpu control are not on every kernel.
                if (group / file).exists():
                    (group / file).write_text(value, encoding="ascii")
    except OSError:
        remove_groups(made)
        raise
    return made


def _values(parent: Parent, limits: Limits) -> Iterator[tuple[str, str]]:
    memory = str(limits.memory_bytes)
    if "memory" in parent.controllers:
        if parent.version == 1:
            yield "memory.limit_in_bytes", memory
            yield "memory.memsw.limit_in_bytes", memory
        else:
            yield "memory.max", memory
            yield "memory.swap.max", "0"
    if "pids" in parent.controllers:
        yield "pids.max", str(limits.processes)
    if "cpu" in parent.controllers and limits.cpus:
        quota = str(int(limits.cpus * _PERIOD_US))
        if parent.version == 1:
            yield "cpu.cfs_period_us", str(_PERIOD_US)
            yield "cpu.cfs_quota_us", quota
        else:
            yield "cpu.max", f"{quota} {_PERIOD_US}"


def memory_events(groups: list[Path]) -> Path | None:
    """Return the file that counts out-of-memory kills, with a line `oom_kill N`."""
    for group in groups:
        for name in ("memory.events", "memory.oom_control"):
            if (group / name).exists():
                return group / name
    return None


def out_of_memory_kills(groups: list[Path]) -> int:
    """Return how many processes the memory limit killed."""
    file = memory_events(groups)
    try:
        lines = file.read_text(encoding="ascii").splitlines() if file else []
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)


def members(groups: list[Path]) -> set[int]:
    """Return the process ids in the groups."""
    found: set[int] = set()
    for group in groups:
        with contextlib.suppress(OSError):
            found |= {int(pid) for pid in (group / "cgroup.procs").read_text("ascii").split()}
    return found


def kill_all(groups: list[Path]) -> None:
    """Kill everything in the groups at once, where the kernel can (version 2)."""
    for group in groups:
        with contextlib.suppress(OSError):
            (group / "cgroup.kill").write_text("1", encoding="ascii")


def remove_groups(groups: list[Path]) -> bool:
    """Remove the groups; False when one still holds processes."""
    for group in groups:
        with contextlib.suppress(OSError):
            group.rmdir()
    return not any(group.exists() for group in groups)
