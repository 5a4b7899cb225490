"""Every path of the sandbox, but not what the kernel makes up, nor what the worker lives on."""

from __future__ import annotations

import contextlib
import ctypes
import os
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.paths import TEMPORARY, Workspace

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.place import Place

__all__ = ["FILE_SYSTEMS", "Everywhere", "file_system_type", "kernel_devices"]

# By the number that fstatfs(2) gives: in these, reading and writing asks the kernel for something.
FILE_SYSTEMS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x1CD1: "devpts",
    0x19800202: "mqueue",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xF97CFF8C: "selinuxfs",
    0x62656570: "configfs",
    0x6165676C: "pstore",
    0xDE5E81E4: "efivarfs",
    0xCAFE4A11: "bpf",
    0x65735543: "fusectl",
    0x42494E4D: "binfmt_misc",
    0x6E736673: "nsfs",
}
# To fstatfs(2) it is one with every tmpfs, so its mounts are looked up.
_DEVICES = "devtmpfs"
_STATFS_BYTES = 256

_statfs = ctypes.CDLL(None, use_errno=True).fstatfs


def file_system_type(fd: int) -> int:
    """Return the number of the kind of file system that an open file is on."""
    found = ctypes.create_string_buffer(_STATFS_BYTES)
    if _statfs(ctypes.c_int(fd), found) != 0:
        raise OSError(ctypes.get_errno(), "fstatfs")
    return int(ctypes.c_ulong.from_buffer(found).value)


def kernel_devices(mounts: str) -> set[int]:
    """Return the device numbers of what `/proc/self/mountinfo` says is devtmpfs."""
    found = set()
    for line in mounts.splitlines():
        where, _, what = line.partition(" - ")
        if what.split(" ", 1)[0] == _DEVICES:
            major, _, minor = where.split(" ")[2].partition(":")
            found.add(os.makedev(int(major), int(minor)))
    return found


class Everywhere(Workspace):
    """Paths from the root on, wherever the kernel lets the sandbox's user go.

    Judged is what was opened, not its name: links lead where they lead, but never to a file that
    the kernel makes up (in /proc a link may lead out of the sandbox) or one of the worker's own.

    Args:
        private: What the worker lives on: files and directories.
    """

    def __init__(self, root: str, private: list[str]) -> None:
        super().__init__(root)
        self.top = b"/"
        self.swept = [self.root, TEMPORARY]
        self._private: set[tuple[int, int]] = set()
        for path in private:
            with contextlib.suppress(FileNotFoundError):
                info = os.stat(path)
                self._private.add((info.st_dev, info.st_ino))
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as file:
            self._devices = kernel_devices(file.read())
            if FILE_SYSTEMS.get(file_system_type(file.fileno())) != "proc":
                raise SystemExit("worker.py: file systems cannot be told apart here")

    def check_open(self, fd: int, text: str, *, passing: bool = False) -> None:
        """Refuse what is on a file system of the kernel, and what is the worker's."""
        info = os.fstat(fd)
        if (info.st_dev, info.st_ino) in self._private:
            raise WorkerError(
                "permission_denied",
                f"{text[:200]} belongs to the program that serves this sandbox; use another path.",
            )
        kind = FILE_SYSTEMS.get(file_system_type(fd))
        if kind is None and not passing and info.st_dev in self._devices:
            kind = _DEVICES
        if kind is not None:
            raise WorkerError(
                "permission_denied",
                f"{text[:200]} is no stored file: it is in {kind}, which the kernel makes up. Use a "
                "command, for example cat or ls.",
            )

    def check_place(self, place: Place, text: str) -> None:
        """Open what is there, but for nothing, and judge that: a device may do something at once."""
        if place.info is None:
            self.check_open(place.directory, text)
            return
        flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
        with contextlib.suppress(FileNotFoundError):  # gone since: then there is nothing to open
            fd = os.open(place.name, flags, dir_fd=place.directory)
            try:
                # Neither a file nor a directory: whoever asked for one refuses it, and opens nothing.
                if stat.S_IFMT(os.fstat(fd).st_mode) in (stat.S_IFREG, stat.S_IFDIR):
                    self.check_open(fd, text)
            finally:
                os.close(fd)

    def _open_top(self) -> int:
        os.close(self.open_root())  # whose owner may have locked himself out
        return os.open(b"/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
