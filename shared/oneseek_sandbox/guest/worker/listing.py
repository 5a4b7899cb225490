"""The entries of a directory, in order."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.drafts import is_draft
from oneseek_sandbox.guest.worker.paths import MAX_PATH, encode_path
from oneseek_sandbox.guest.worker.scheduler import turn

if TYPE_CHECKING:
    from typing import Any

    from oneseek_sandbox.guest.worker.http import Request
    from oneseek_sandbox.guest.worker.paths import Workspace

__all__ = ["Listing", "list_directory"]


class Listing:
    """Collects directory entries in order, at most one more than the limit."""

    def __init__(self, limit: int, workspace: Workspace) -> None:
        self._wanted = limit + 1
        self._workspace = workspace
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
        try:
            self._workspace.check_open(below, "")
        except WorkerError:
            os.close(below)
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


async def list_directory(request: Request, workspace: Workspace) -> None:
    """List a directory, sorted by the names on the path."""
    fields = await request.fields()
    request.subject = path = fields.text("path", limit=MAX_PATH)
    depth = fields.integer("depth", 1, 32, 1)
    limit = fields.integer("limit", 1, 10_000, 1000)
    cursor = fields.optional_text("cursor", limit=MAX_PATH)
    fields.close()
    base = workspace.split(path)
    after = [] if cursor is None else workspace.split(cursor)
    if after and (after[: len(base)] != base or len(after) == len(base)):
        raise WorkerError("invalid_request", "cursor is not below path.")
    prefix = b"/".join([workspace.top.rstrip(b"/"), *base])
    listing = Listing(limit, workspace)
    fd = workspace.open_directory(path)
    await listing.walk(fd, prefix, depth, after[len(base) :])
    entries = listing.entries[:limit]
    truncated = len(listing.entries) > limit
    answer = {"entries": entries, "truncated": truncated}
    await request.answer({**answer, "cursor": entries[-1]["path"] if truncated else None})
