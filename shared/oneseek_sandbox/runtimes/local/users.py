"""The user ids of sandboxes when the server is root: each sandbox has one that nobody else has."""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import CapacityError

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["PrivateUsers"]

_JUST_TAKEN_MS = 60_000


class PrivateUsers:
    """An id is taken while a file has its name; several processes may share the folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def take(self, users: range) -> int:
        """Reserve an id.

        Raises:
            CapacityError: None was free in a thousand tries.
        """
        for _ in range(1000):
            user = users.start + secrets.randbelow(len(users))
            with contextlib.suppress(FileExistsError):
                (self.folder / str(user)).touch(exist_ok=False, mode=0o600)
                return user
        raise CapacityError("No user id is free for another sandbox; release some first.")

    def give_back(self, user: int) -> None:
        """Let others have an id again; nothing may be left that belongs to it."""
        (self.folder / str(user)).unlink(missing_ok=True)

    def reclaim(self, in_use: set[int], now_ms: int) -> None:
        """Give back what was taken by a process that died before it used it, or after.

        Args:
            in_use: Who owns files of sandboxes. Looked up before this call, so what was taken
                just now is left alone: its folder may have been made since.
        """
        for path in self.folder.iterdir():
            with contextlib.suppress(FileNotFoundError, ValueError):
                taken_ms = path.stat().st_mtime_ns // 1_000_000
                if int(path.name) not in in_use and now_ms - taken_ms > _JUST_TAKEN_MS:
                    path.unlink()
