"""The entries of a directory, in order."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.drafts import is_draft
from oneseek_sandbox.guest.worker.paths import encode_path
from oneseek_sandbox.guest.worker.scheduler import turn

if TYPE_CHECKING:
    from typing import Any

__all__ = ["Listing"]


class Listing:
    """Collects directory entries in order, at most one more than the limit."""

    def __init__(self, limit: int) -> None:
        self._wanted = limit + 1
        self.entries: list[dict[str, Any]] = []

    async def walk(self, fd: int, prefix: bytes, depth: int, after: list[bytes]) -> None:
        """Collect a directory whose descriptor this takes over, from behind `after`."""
        try:
            for name in await self._names(fd, after[0] if after else b""):
                resumed = bool(after) and name == after[0]
                info = self._look(fd, name)
                if info is None:
                    continue
                if not resumed:
                    self.entries.append(self._entry(prefix + b"/" + name, info))
                if depth > 1 and stat.S_ISDIR(info.st_mode) and len(self.entries) < self._wanted:
                    rest = after[1:] if resumed else []
                    await self._descend(fd, name, prefix + b"/" + name, depth - 1, rest)
                if len(self.entries) >= self._wanted:
                    return
        finally:
            os.close(fd)

    async def _descend(
        self, fd: int, name: bytes, prefix: bytes, depth: int, after: list[bytes]
    ) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            below = os.open(name, flags, dir_fd=fd)
        except OSError:
            return
        await self.walk(below, prefix, depth, after)

    async def _names(self, fd: int, start: bytes) -> list[bytes]:
        """Return the smallest names from `start` on, holding few of a huge directory at a time."""
        names: list[bytes] = []
        with os.scandir(fd) as entries:
            for number, entry in enumerate(entries):
                name = os.fsencode(entry.name)
                if name >= start and not is_draft(name):
                    names.append(name)
                if len(names) > 2 * self._wanted + 1024:
                    names = sorted(names)[: self._wanted + 1]
                if number % 1024 == 1023:
                    await turn()
        return sorted(names)[: self._wanted + 1]

    @staticmethod
    def _look(fd: int, name: bytes) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=fd, follow_symlinks=False)
        except OSError:
            return None

    @staticmethod
    def _entry(path: bytes, info: os.stat_result) -> dict[str, Any]:
        kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}
        return {
            "path": encode_path(path),
            "type": kinds.get(stat.S_IFMT(info.st_mode), "other"),
            "size": info.st_size,
            "mode": f"{stat.S_IMODE(info.st_mode):04o}",
            "mtime_ms": info.st_mtime_ns // 1_000_000,
        }
