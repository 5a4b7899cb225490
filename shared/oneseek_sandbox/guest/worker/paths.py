"""Paths in the workspace, walked so that no symlink leads out of it."""

from __future__ import annotations

import binascii
import contextlib
import os
import stat
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.place import Place, check_regular, path_changed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = [
    "MAX_PATH",
    "MAX_RESTARTED_WALKS",
    "MAX_SYNCED_AT_ONCE",
    "OPEN_DIRECTORY",
    "OPEN_FILE",
    "READ_DIRECTORY",
    "TEMPORARY",
    "Workspace",
    "decode_path",
    "encode_path",
]

MAX_PATH = 16 * 1024  # characters; a base64 name takes more than its 4096 bytes
MAX_SYNCED_AT_ONCE = 64  # directories, each held open
MAX_RESTARTED_WALKS = 200
TEMPORARY = b"/tmp"
OPEN_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
READ_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
OPEN_FILE = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC


def decode_path(text: str) -> bytes:
    """Return the bytes of a path: UTF-8, or `base64:` and any bytes."""
    try:
        path = (
            binascii.a2b_base64(text[7:].encode("ascii"))
            if text.startswith("base64:")
            else text.encode()
        )
    except ValueError:
        raise WorkerError("invalid_request", "A path is neither UTF-8 nor base64.") from None
    if b"\0" in path:
        raise WorkerError("invalid_request", "A path must not contain NUL.")
    return path


def encode_path(path: bytes) -> str:
    """Return a path as text; what is not UTF-8 stands as `base64:`."""
    try:
        return path.decode()
    except UnicodeDecodeError:
        return "base64:" + binascii.b2a_base64(path, newline=False).decode("ascii")


class Workspace:
    """Paths in the workspace, each walked name by name so that no symlink leads out of it.

    Attributes:
        root: The workspace.
        top: Where walks begin, and what they do not leave.
        swept: The folders where an earlier worker may have left drafts.
    """

    def __init__(self, root: str) -> None:
        self.root = os.fsencode(root.rstrip("/") or "/")
        self.top = self.root
        self.swept = [self.root]

    def is_empty(self) -> bool:
        """Return whether nothing is in it, as far as that can be seen."""
        try:
            with os.scandir(self.root) as entries:
                return next(entries, None) is None
        except OSError:
            return False

    def split(self, text: str) -> list[bytes]:
        """Return the names below the workspace; a path that is not in it is refused."""
        path = decode_path(text)
        names = self._names_below(path)
        if names is None or b".." in names:
            top = os.fsdecode(self.top)
            raise WorkerError(
                "path_outside_workspace",
                f"{text[:200]} is not an absolute path in {top} (without '..').",
            )
        return names

    def resolve(self, text: str, *, make_parents: bool = False) -> Place:
        """Walk to where a path leads, through symlinks that stay inside; its end may be missing."""
        names = self.split(text)
        for _ in range(MAX_RESTARTED_WALKS):
            found = self._walk(names, text, make_parents)
            if isinstance(found, Place):
                try:
                    self.check_place(found, text)
                except BaseException:
                    os.close(found.directory)
                    raise
                return found
            names = found
        raise WorkerError("path_outside_workspace", f"{text}: too many levels of symlinks.")

    def resolve_existing(self, text: str) -> Place:
        """Walk to something that is there."""
        place = self.resolve(text)
        if place.info is None:
            os.close(place.directory)
            raise WorkerError("file_not_found", f"{text} does not exist.")
        return place

    def open_root(self) -> int:
        """Open the workspace itself, and give access back to an owner who has locked himself out.

        `chmod -R 644 .` would otherwise end every command before it could be undone.
        """
        root = os.open(self.root, OPEN_DIRECTORY & ~os.O_NOFOLLOW)
        mode = stat.S_IMODE(os.fstat(root).st_mode)
        if not mode & stat.S_IXUSR:
            with contextlib.suppress(OSError):  # not ours: then nobody inside has done it
                os.chmod(self.root, mode | stat.S_IRWXU)
        return root

    def open_directory(self, text: str, flags: int = os.O_RDONLY) -> int:
        """Open a directory in the workspace."""
        with self.resolve_existing(text) as place:
            if place.info is not None and not stat.S_ISDIR(place.info.st_mode):
                raise WorkerError("not_a_directory", f"{text} is not a directory.")
            mode = flags | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(place.name, mode, dir_fd=place.directory)
        try:
            self.check_open(fd, text)
        except WorkerError:
            os.close(fd)
            raise
        return fd

    async def sync_names_above(
        self, directory: int, to_disk: Callable[[list[int]], Awaitable[None]]
    ) -> None:
        """Put the names from the workspace to this directory on the disk, but none that is in it."""
        top = os.stat(self.top)
        fds = [os.open(b".", READ_DIRECTORY, dir_fd=directory)]
        try:
            while not os.path.samestat(here := os.fstat(fds[-1]), top):
                fds.append(os.open(b"..", READ_DIRECTORY, dir_fd=fds[-1]))
                if os.path.samestat(here, os.fstat(fds[-1])):
                    return  # it was moved out of the workspace meanwhile
                if len(fds) > MAX_SYNCED_AT_ONCE:
                    await to_disk(fds[1:])
                    while len(fds) > 1:
                        os.close(fds.pop(0))
            await to_disk(fds[1:])
        finally:
            for fd in fds:
                os.close(fd)

    def open_file(self, text: str) -> int:
        """Open a regular file for reading."""
        with self.resolve_existing(text) as place:
            return self.open_place(place, text)

    def open_place(self, place: Place, text: str) -> int:
        """Open the regular file at a place for reading."""
        if place.info is not None:
            check_regular(place.info, text)
        fd = os.open(place.name, os.O_RDONLY | OPEN_FILE, dir_fd=place.directory)
        try:
            self.check_file(fd, text)
        except WorkerError:
            os.close(fd)
            raise
        return fd

    def check_file(self, fd: int, text: str) -> None:
        """Refuse what was opened when it is no regular file, or is nobody's business."""
        check_regular(os.fstat(fd), text)
        self.check_open(fd, text)

    def check_open(self, fd: int, text: str, *, passing: bool = False) -> None:
        """Refuse what was opened when it is nobody's business: in the workspace nothing is.

        Args:
            passing: It is a directory on the way to somewhere else.
        """

    def check_place(self, place: Place, text: str) -> None:
        """Refuse a place before it is opened; in the workspace every place is as good as another."""

    def _names_below(self, path: bytes) -> list[bytes] | None:
        prefix = self.top if self.top == b"/" else self.top + b"/"
        if path != self.top and not path.startswith(prefix):
            return None
        return [name for name in path[len(prefix) :].split(b"/") if name not in (b"", b".")]

    def _walk(self, names: list[bytes], text: str, make_parents: bool) -> list[bytes] | Place:
        """Return the place, or the names to start again with after a symlink or a `..`."""
        directory = self._open_top()
        try:
            for index, name in enumerate(names[:-1]):
                info = self._look(directory, name, make=make_parents)
                again = self._redirect(directory, names, index, info, text)
                if again is not None:
                    os.close(directory)
                    return again
                directory = self._enter(directory, name, info, text)
            if not names:
                return Place(directory, b".", os.fstat(directory), names)
            info = self._look(directory, names[-1], make=False)
            again = self._redirect(directory, names, len(names) - 1, info, text)
        except BaseException:
            os.close(directory)
            raise
        if again is None:
            return Place(directory, names[-1], info, names)
        os.close(directory)
        return again

    def _redirect(
        self, directory: int, names: list[bytes], index: int, info: os.stat_result | None, text: str
    ) -> list[bytes] | None:
        """Return the names a `..` or a symlink at `index` leads to; None when it is neither."""
        if names[index] == b"..":
            return self._go_up(names, index, text)
        if info is not None and stat.S_ISLNK(info.st_mode):
            try:
                target = os.readlink(names[index], dir_fd=directory)
            except OSError:
                raise path_changed(text) from None
            return self._follow(names, index, target, text)
        return None

    def _enter(self, directory: int, name: bytes, info: os.stat_result | None, text: str) -> int:
        if info is None:
            raise WorkerError("file_not_found", f"{text} does not exist.")
        try:
            below = os.open(name, OPEN_DIRECTORY, dir_fd=directory)
        except (FileNotFoundError, NotADirectoryError):
            if stat.S_ISDIR(info.st_mode):
                raise path_changed(text) from None
            raise
        try:
            self.check_open(below, text, passing=True)
        except WorkerError:
            os.close(below)
            raise
        os.close(directory)
        return below

    @staticmethod
    def _look(directory: int, name: bytes, *, make: bool) -> os.stat_result | None:
        try:
            return os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                return None
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o755, dir_fd=directory)
        return os.stat(name, dir_fd=directory, follow_symlinks=False)

    def _open_top(self) -> int:
        return self.open_root()

    def _go_up(self, names: list[bytes], index: int, text: str) -> list[bytes]:
        # What stands before was just walked and holds no symlink, so `..` may go by name.
        if index:
            return names[: index - 1] + names[index + 1 :]
        if self.top == b"/":
            return names[1:]
        raise WorkerError("path_outside_workspace", f"{text} leads out of the workspace.")

    def _follow(self, names: list[bytes], index: int, target: bytes, text: str) -> list[bytes]:
        if not target.startswith(b"/"):
            steps = [name for name in target.split(b"/") if name not in (b"", b".")]
            return names[:index] + steps + names[index + 1 :]
        inside = self._names_below(target)
        if inside is None:
            raise WorkerError("path_outside_workspace", f"{text} leads out of the workspace.")
        return inside + names[index + 1 :]
