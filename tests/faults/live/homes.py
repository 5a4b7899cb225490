"""Where a system keeps its state: a folder, or a file system of its own that can fill or lose power."""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
import time
from pathlib import Path

__all__ = ["FolderHome", "LoopHome"]

_IMAGE_BYTES = 384 * 1024**2
_COPY_TRIES = 40
_UNMOUNT_SECONDS = 10.0


class FolderHome:
    """A folder on this machine's disk."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "home"

    def make(self) -> None:
        """Make what is needed before a server starts."""

    def remove(self) -> None:
        """Remove it with all that is in it."""
        subprocess.run(["rm", "-rf", "--", self.path], check=False)


class LoopHome:
    """A file system in an image, mounted through a loop device: only for root.

    The image holds what the disk was given. What the kernel still keeps in memory is not in it,
    and is what a copy of it lacks, as after a power cut.
    """

    def __init__(self, folder: Path) -> None:
        self._image = folder / "disk.img"
        self._mount = folder / "disk"
        self._ballast = self._mount / "ballast"
        self.path = self._mount / "home"

    def make(self) -> None:
        """Make the file system and mount it."""
        with self._image.open("wb") as image:
            image.truncate(_IMAGE_BYTES)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=1,lazy_journal_init=1", str(self._image))
        self._mount.mkdir()
        self._mount_image()
        # Home and its file system are old when the power goes: only what is new may be lost.
        self.path.mkdir(mode=0o711)
        _run("sync", "-f", str(self.path))

    def fill(self) -> None:
        """Leave no free block, not even those kept for root."""
        with self._ballast.open("ab") as ballast:
            size = ballast.tell()
            step = 64 * 1024**2
            while step >= 1024:
                try:
                    os.posix_fallocate(ballast.fileno(), size, step)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    step //= 2
                else:
                    size += step

    def free(self) -> None:
        """Give the space back."""
        self._ballast.unlink(missing_ok=True)

    def lose_power(self) -> None:
        """Go on with what had reached the disk; all processes must have been stopped before."""
        copy = self._image.with_suffix(".copy")
        for _ in range(_COPY_TRIES):
            before = self._image.stat().st_mtime_ns
            _run("cp", "--sparse=always", str(self._image), str(copy))
            # The kernel may write at any time; a copy made meanwhile is no state of a disk.
            if self._image.stat().st_mtime_ns == before:
                break
        else:
            raise RuntimeError("The disk was written without a pause.")
        self._copy = copy

    def come_back(self) -> None:
        """Mount the copy in the place of the disk; nothing may use the old one any more."""
        self._unmount()
        self._copy.replace(self._image)
        self._mount_image()

    def remove(self) -> None:
        """Unmount it and delete the image."""
        self._unmount()
        for path in (self._image, self._image.with_suffix(".copy")):
            path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self._mount.rmdir()

    def _mount_image(self) -> None:
        _run("mount", "-o", "loop", str(self._image), str(self._mount))

    def _unmount(self) -> None:
        deadline = time.monotonic() + _UNMOUNT_SECONDS
        while os.path.ismount(self._mount):
            done = subprocess.run(["umount", str(self._mount)], check=False, capture_output=True)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                # Somebody still uses it, which the leftovers tell; never leave a mount behind.
                _run("umount", "--lazy", str(self._mount))
                return
            time.sleep(0.05)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)
