"""Files that are written whole or not at all, and put on the disk."""

from __future__ import annotations

import binascii
import contextlib
import errno
import os
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.digest import sha256
from oneseek_sandbox.guest.worker.paths import READ_DIRECTORY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from oneseek_sandbox.guest.worker.paths import Workspace

__all__ = ["MAX_UNSYNCED_BYTES", "Draft", "Sync", "is_draft", "write_all"]

MAX_UNSYNCED_BYTES = 8 * 1024 * 1024  # of a file that is synced


def is_draft(name: bytes) -> bool:
    """Say whether a name is one that `Draft` gives."""
    return len(name) == 37 and name.startswith(b".oneseek-") and name.endswith(b".tmp")


class Sync:
    """Puts a file on the disk in pieces while it is written, and its names.

    Args:
        to_disk: Syncs descriptors; None when nothing is to be synced.
    """

    def __init__(
        self, workspace: Workspace, to_disk: Callable[[list[int]], Awaitable[None]] | None
    ) -> None:
        self._workspace = workspace
        self._to_disk = to_disk
        self._unsynced = 0

    @contextlib.asynccontextmanager
    async def names(self, directory: int) -> AsyncIterator[None]:
        """Sync the names above a directory, then, when all went well, those in it.

        What can be refused is refused before the file changes.
        """
        if self._to_disk is None:
            yield
            return
        await self._workspace.sync_names_above(directory, self._to_disk)
        fd = os.open(b".", READ_DIRECTORY, dir_fd=directory)
        try:
            yield
            await self._to_disk([fd])
        finally:
            os.close(fd)

    async def wrote(self, fd: int, count: int) -> None:
        """Sync the file when much of it is not."""
        self._unsynced += count
        if self._to_disk is not None and self._unsynced >= MAX_UNSYNCED_BYTES:
            await self._to_disk([fd])
            self._unsynced = 0

    async def file(self, fd: int) -> None:
        """Sync the file, whose bytes and mode are all there."""
        if self._to_disk is not None:
            await self._to_disk([fd])


class Draft:
    """A temporary file beside its target: put in place whole, or gone."""

    def __init__(self, directory: int, names: set[bytes]) -> None:
        self._directory = directory
        self._names = names
        self.name = b".oneseek-" + binascii.hexlify(os.urandom(12)) + b".tmp"
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(self.name, flags, 0o600, dir_fd=directory)
        self._names.add(self.name)
        self._hash = sha256()
        self.meter: Callable[[int], None] | None = None  # for what no body has announced
        self.size = 0

    def __enter__(self) -> Draft:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.fd)
        self._names.discard(self.name)
        with contextlib.suppress(OSError):
            os.unlink(self.name, dir_fd=self._directory)

    @property
    def sha256(self) -> str:
        """The hash of what was written."""
        return self._hash.hexdigest()

    def write(self, data: bytes) -> None:
        """Add bytes."""
        if self.meter is not None:
            self.meter(len(data))
        write_all(self.fd, data)
        self._hash.update(data)
        self.size += len(data)

    def place(self, name: bytes, *, create_only: bool = False) -> None:
        """Give it its name, over what is there unless `create_only`."""
        if create_only and not self._link(name):
            # A file system without hard links: hold the name with an empty file instead.
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            os.close(os.open(name, flags, 0o600, dir_fd=self._directory))
        elif create_only:
            return
        os.rename(self.name, name, src_dir_fd=self._directory, dst_dir_fd=self._directory)

    def _link(self, name: bytes) -> bool:
        directory = self._directory
        try:
            os.link(self.name, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError as error:
            if error.errno in (errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK):
                return False
            raise
        return True


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write all of `data`."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
