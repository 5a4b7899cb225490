"""How much a folder takes on its disk, and that what fills it stops."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.paths import OPEN_DIRECTORY, TEMPORARY
from oneseek_sandbox.guest.worker.processes import read_processes
from oneseek_sandbox.guest.worker.scheduler import Condition, sleep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.guest.worker.commands import Commands
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = [
    "DISK_CALM_SECONDS",
    "DISK_ENTRIES",
    "DISK_FASTEST",
    "DISK_GROWTH",
    "DISK_LOOK_SECONDS",
    "DISK_SHORTEST_SECONDS",
    "DISK_SLICE_SECONDS",
    "DISK_WALK_SECONDS",
    "Disk",
    "Folder",
]

DISK_LOOK_SECONDS = 0.1  # while a command runs; what a look costs is one statfs
DISK_SHORTEST_SECONDS = 0.01
DISK_FASTEST = (
    4 * 1024**3
)  # bytes a second, into memory first; who is near the limit is looked at more
DISK_CALM_SECONDS = 2.0
DISK_WALK_SECONDS = 10.0  # the longest time without a walk while somebody writes
DISK_SLICE_SECONDS = 0.01
DISK_ENTRIES = 2_000_000
DISK_GROWTH = 1024 * 1024  # past a limit, who has written so much is one who fills the disk


class Folder:
    """A folder to count. One that its owner has closed to himself is opened meanwhile.

    Else anybody could hide there how much he takes.
    """

    def __init__(self, path: bytes, info: os.stat_result | None = None) -> None:
        self.path = path
        self._mode = 0o700 if info is None else stat.S_IMODE(info.st_mode)
        self.is_closed = self._mode & 0o500 != 0o500
        self.is_open = False

    def open(self) -> None:
        """Give the owner access; what is not ours stays as it is."""
        self.is_open = True
        self._change(self._mode, self._mode | stat.S_IRWXU)

    def close(self) -> None:
        """Take the access back, unless somebody has set another mode."""
        self._change(self._mode | stat.S_IRWXU, self._mode)

    def _change(self, before: int, after: int) -> None:
        with contextlib.suppress(OSError):
            fd = os.open(self.path, OPEN_DIRECTORY)
            try:
                if stat.S_IMODE(os.fstat(fd).st_mode) == before:
                    os.chmod(f"/proc/self/fd/{fd}", after)  # so no link is followed
            finally:
                os.close(fd)


class Disk:
    """How much a folder takes on its disk, and that what fills it stops.

    A look is one statfs: as long as everybody together has not written what is left to us, nor have
    we, and nothing is counted. What a walk cannot see (below a directory of somebody else, or far too
    deep) is not counted.

    Args:
        limit: Bytes that the folder may take; 0 for any number.
        floor: Bytes that stay free on the disk, as far as it is up to us.
    """

    def __init__(self, scheduler: Scheduler, folder: bytes, limit: int, floor: int = 0) -> None:
        self.busy = Condition(scheduler)
        self._root = folder
        self._limit = limit
        self._floor = floor
        self._used = 0
        self._free = 0
        self._growth = 0  # by how much everybody together has filled the disk since the last walk
        self._walked = float("-inf")
        self._rested = 0.0  # when the next walk may begin, so that walks do not take all our time
        self._walking = False
        self._written_low = 0  # by us, since the disk came down to its floor
        self._grown = 0  # in need, since it was last stopped: a little may be written to clean up

    async def watch(self, commands: Commands) -> None:
        """Stop what writes too much, for ever."""
        if not self._limit and not self._floor:
            return
        growth = 0
        while True:
            if commands.running or self._growth > growth:
                await sleep(self._pause())
            else:
                await self.busy.wait(time.monotonic() + DISK_CALM_SECONDS)
            growth = self._growth
            # Without a descriptor just now it looks again later; it must not end for that.
            with contextlib.suppress(OSError):
                if await self._is_too_much():
                    await commands.stop_all("disk_limit")

    def _pause(self) -> float:
        left = self._free - self._floor
        if self._limit:
            left = min(left, self._limit - self._used - self._growth)
        return min(DISK_LOOK_SECONDS, max(DISK_SHORTEST_SECONDS, left / DISK_FASTEST))

    async def check(self, expected: int) -> None:
        """Refuse to write when there is no room for `expected` bytes."""
        self._look()
        if self._limit and self._used + self._growth + expected >= self._limit:
            await self._walk()
        self.take(0, expected)

    def take(self, size: int, expected: int = 0) -> None:
        """Note that a caller writes so many bytes, or refuse."""
        if self._limit and self._used + size + expected > self._limit:
            is_tmp = self._root == TEMPORARY
            name = os.fsdecode(TEMPORARY) if is_tmp else "The workspace"
            raise WorkerError(
                "disk_full",
                f"{name} takes {self._used // 1024**2} MB and may take "
                f"{self._limit // 1024**2} MB. Delete files (rm, in a command) and try again.",
            )
        self._used += size
        if self._floor and self._look() < self._floor:
            self._written_low += size
            if self._written_low > DISK_GROWTH:
                raise WorkerError(
                    "disk_full",
                    "The disk of all sandboxes is nearly full. Delete files (rm, in a command), or "
                    "release sandboxes, and try again.",
                )

    async def _is_too_much(self) -> bool:
        """Look; whether the folder is over its limit, or the disk below its floor, and it grows."""
        if self._walked < 0:
            await self._walk()
        low = self._look() < self._floor
        growth = self._growth
        if not low:
            self._written_low = 0
        due = growth > 0 and time.monotonic() - self._walked > DISK_WALK_SECONDS
        over = self._limit and self._used + growth >= self._limit
        if not (due or ((over or low) and growth > 0)) or time.monotonic() < self._rested:
            return False
        before = self._used
        await self._walk()
        grown = max(0, self._used - before)
        over = bool(self._limit) and self._used >= self._limit
        if low:
            self._written_low += grown
        self._grown = self._grown + grown if over or low else 0
        crossed = over and before < self._limit <= before + grown
        if not crossed and self._grown <= DISK_GROWTH:
            return False
        self._grown = 0
        return True

    def _look(self) -> int:
        """Return the free bytes of the disk. What somebody deletes says nothing of what we wrote."""
        found = os.statvfs(self._root)
        free = found.f_bavail * found.f_frsize
        self._growth += max(0, self._free - free)
        self._free = free
        return free

    async def _walk(self) -> None:
        """Count the bytes of all files, giving way to others."""
        if self._walking:
            while self._walking:
                await sleep(DISK_SLICE_SECONDS)
            return
        self._walking = True
        try:
            began = time.monotonic()
            self._look()
            self._growth = 0
            self._used = await self._count()
            self._walked = time.monotonic()
            self._rested = self._walked + 2 * (self._walked - began)
        finally:
            self._walking = False

    async def _count(self) -> int:
        seen: set[int] = set()
        total = self._count_unnamed(seen)
        folders = [Folder(self._root)]
        until = time.monotonic() + DISK_SLICE_SECONDS
        entries = 0
        while folders:
            folder = folders.pop()
            if folder.is_open:
                folder.close()
            if folder.is_open or entries >= DISK_ENTRIES:
                continue
            if folder.is_closed:
                folder.open()
                folders.append(folder)  # closed again when all below it is counted
            for info, path in self._entries(folder.path):
                entries += 1
                if info.st_nlink == 1 or info.st_ino not in seen:
                    total += info.st_blocks * 512
                if stat.S_ISDIR(info.st_mode):
                    folders.append(Folder(path, info))
                elif info.st_nlink > 1:
                    seen.add(info.st_ino)
                if entries % 64 == 0 and time.monotonic() > until:
                    await sleep(DISK_SLICE_SECONDS)
                    until = time.monotonic() + DISK_SLICE_SECONDS
        return total

    @staticmethod
    def _entries(folder: bytes) -> Iterator[tuple[os.stat_result, bytes]]:
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        yield entry.stat(follow_symlinks=False), entry.path
        except OSError:
            return  # deleted meanwhile, or closed to us

    def _count_unnamed(self, seen: set[int]) -> int:
        """Count files that were deleted and are still open: they take space like any other."""
        total = 0
        device = os.stat(self._root).st_dev
        for pid in read_processes():
            for info, _ in self._open_files(pid):
                unnamed = info.st_nlink == 0 and stat.S_ISREG(info.st_mode)
                if unnamed and info.st_dev == device and info.st_ino not in seen:
                    seen.add(info.st_ino)
                    total += info.st_blocks * 512
        return total

    @staticmethod
    def _open_files(pid: int) -> Iterator[tuple[os.stat_result, str]]:
        try:
            with os.scandir(f"/proc/{pid}/fd") as found:
                for entry in found:
                    with contextlib.suppress(OSError):
                        yield entry.stat(), entry.path
        except OSError:
            return
