"""A small disk of a test's own: an ext4 image on a loop device, which can lose its power."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest

__all__ = ["LoopDisk", "loop_disk"]

# _IOR('X', 125, __u32): the file system stops at once and writes nothing more.
_SHUTDOWN = 0x8004587D
_WITHOUT_FLUSH = 2


class LoopDisk:
    """An ext4 file system of so many megabytes, mounted at `path`."""

    def __init__(self, megabytes: int, options: str = "loop") -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="oneseek-disk-"))
        self.path = self._folder / "mnt"
        self.path.mkdir()
        self._image = self._folder / "image-0"
        with self._image.open("wb") as file:
            file.truncate(megabytes * 1024**2)
        self._options = options
        _run("mkfs.ext4", "-q", "-F", "-m", "0", str(self._image))
        self._mount()

    def cut_power(self) -> None:
        """Lose what the kernel had not written yet: the path then shows a copy of the image.

        Whoever still has files of the disk open gets EIO from then on, and must be ended.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.ioctl(descriptor, _SHUTDOWN, _WITHOUT_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(descriptor)
        copy = self._image.with_name(f"image-{int(self._image.name.partition('-')[2]) + 1}")
        shutil.copyfile(self._image, copy)
        _run("umount", "--lazy", str(self.path))
        self._image = copy
        self._mount()

    def fill(self) -> Path:
        """Allocate every free block to one file, and return it."""
        path = self.path / "filling"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            for size in (16 * 1024**2, 1024**2, 64 * 1024, 4096):
                while _grow(descriptor, size):
                    pass
        finally:
            os.close(descriptor)
        return path

    def close(self) -> None:
        """Take the disk away."""
        _run("umount", "--lazy", str(self.path))
        shutil.rmtree(self._folder)

    def _mount(self) -> None:
        _run("mount", "-o", self._options, str(self._image), str(self.path))


def _grow(descriptor: int, size: int) -> bool:
    try:
        os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, size)
    except OSError:
        return False
    return True


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=60)


def loop_disk(megabytes: int) -> LoopDisk:
    """Return a disk, or skip the test where this machine cannot make one."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a loop device")
    try:
        return LoopDisk(megabytes)
    except (OSError, subprocess.CalledProcessError) as error:
        reason = getattr(error, "stderr", b"") or str(error).encode()
        pytest.skip(f"no ext4 on a loop device here: {reason.decode(errors='replace').strip()}")
