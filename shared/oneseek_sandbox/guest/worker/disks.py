"""On which disk it counts what a caller writes."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.paths import TEMPORARY

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.guest.worker.disk import Disk
    from oneseek_sandbox.guest.worker.paths import Workspace
    from oneseek_sandbox.guest.worker.place import Place

__all__ = ["Disks"]


class Disks:
    """The workspace's disk and that of /tmp; what lies elsewhere is for the kernel to bound."""

    def __init__(self, workspace: Workspace, disk: Disk, tmp: Disk) -> None:
        self._workspace = workspace
        self._disk = disk
        self._folders = [(_names(workspace.root), disk), (_names(TEMPORARY), tmp)]

    async def check(self, expected: int) -> None:
        """Refuse to write so many bytes before anything is made, where it is known which disk it is."""
        if self._is_known:
            await self._disk.check(expected)

    async def meter(self, place: Place, expected: int) -> Callable[[int], None] | None:
        """Return what takes note of each byte that is written at a place."""
        if self._is_known:
            return self._disk.take
        for names, disk in self._folders:
            if place.names[: len(names)] == names:
                await disk.check(expected)
                return disk.take
        return None

    @property
    def _is_known(self) -> bool:
        return self._workspace.top == self._workspace.root


def _names(folder: bytes) -> list[bytes]:
    return [name for name in os.path.realpath(folder).split(b"/") if name]
