"""Where a path leads, and what may be there."""

from __future__ import annotations

import os
import stat

from oneseek_sandbox.guest.worker.base import WorkerError

__all__ = ["Place", "check_regular", "path_changed"]


class Place:
    """Where a path leads: a directory held open, and a name in it that is not a symlink.

    Args:
        names: On the way there from where walks begin, without symlinks when they were walked.
    """

    def __init__(
        self, directory: int, name: bytes, info: os.stat_result | None, names: list[bytes]
    ) -> None:
        self.directory = directory
        self.name = name
        self.info = info
        self.names = names

    def __enter__(self) -> Place:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.directory)

    def key(self) -> tuple[int, int, bytes]:
        """Return what two requests for the same file have in common."""
        directory = os.fstat(self.directory)
        return directory.st_dev, directory.st_ino, self.name

    def refresh(self, path: str) -> os.stat_result | None:
        """Look again at what is there; None when nothing is."""
        try:
            self.info = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            self.info = None
        if self.info is not None and stat.S_ISLNK(self.info.st_mode):
            raise path_changed(path)
        return self.info


def check_regular(info: os.stat_result, path: str) -> None:
    """Refuse everything that is not a regular file: reading a FIFO could block for ever."""
    if stat.S_ISDIR(info.st_mode):
        raise WorkerError("is_a_directory", f"{path} is a directory, not a file.")
    if not stat.S_ISREG(info.st_mode):
        raise WorkerError("not_a_regular_file", f"{path} is not a regular file.")


def path_changed(path: str) -> WorkerError:
    """Say that a path was changed while it was walked, by whatever runs inside."""
    return WorkerError(
        "path_changed",
        f"{path[:200]} changed while it was looked at: something in the sandbox replaces its links "
        "or directories. Try again.",
    )
