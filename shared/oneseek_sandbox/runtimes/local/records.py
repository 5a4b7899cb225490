"""What is kept on disk of each sandbox, and the lock that makes changes to it safe.

    sandboxes/<name>/object.json   the record: labels, ids, whether it was claimed
                     ending.json   the record of a sandbox that is being stopped, instead
                     lock          held while somebody creates, adopts, stops or marks it
                     status        held by the sandbox's own monitor for as long as it lives
                     start.log     what bubblewrap and the worker wrote to stderr
                     workspace/    the files
    ending/<name>/                 a stopped sandbox whose files are being deleted
    damaged/<name>/                a sandbox whose record cannot be understood; never deleted
    programs/                      the worker, compiled for the sandboxes' Python
    users/<uid>                    user ids taken by sandboxes, when the server is root

Several server processes may share the folder; nothing is remembered between calls. A record is on
the disk before its writer goes on (ADR 22), so a power cut forgets no sandbox that somebody was
given, and no end that was reported to somebody.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from typing import TYPE_CHECKING

from oneseek_sandbox.durable import sync_folder, write_whole
from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.runtimes.local.record import DamagedRecordError, Record, name_prefix
from oneseek_sandbox.runtimes.local.users import PrivateUsers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oneseek_sandbox.leases.store import Thread

__all__ = ["Records", "owner"]

_LOCK_SECONDS = 30.0
_UNFINISHED_MS = 60_000
_RECORD, _ENDING_RECORD = "object.json", "ending.json"


class Records:
    """The folders of all sandboxes below a home.

    Args:
        home: State folder of the server.
        open_to_pass: Let other users pass through (not list) the folders, which sandboxes with a
            user of their own need where nothing can be mounted for them.
    """

    def __init__(self, home: Path, *, open_to_pass: bool = False) -> None:
        self.home = home
        self._mode = 0o711 if open_to_pass else 0o700
        self._sandboxes = home / "sandboxes"
        self._ending = home / "ending"
        self._damaged = home / "damaged"
        self.users = PrivateUsers(home / "users")
        self.programs = home / "programs"

    def prepare(self) -> None:
        """Make the folders."""
        self.home.mkdir(parents=True, exist_ok=True, mode=self._mode)
        kept = (self._sandboxes, self._ending, self._damaged)
        for folder in (*kept, self.programs, self.users.folder):
            folder.mkdir(exist_ok=True, mode=self._mode)

    def folder(self, name: str) -> Path:
        """Return where a sandbox is kept."""
        return self._sandboxes / name

    def ending_folder(self, name: str) -> Path:
        """Return where a stopped sandbox waits for its deletion."""
        return self._ending / name

    def names(self, thread: Thread | None = None) -> list[str]:
        """Return the names of all sandboxes, or of a thread's."""
        start = f"{name_prefix(thread)}-" if thread else ""
        try:
            return sorted(
                path.name for path in self._sandboxes.iterdir() if path.name.startswith(start)
            )
        except OSError as error:
            raise RuntimeUnavailableError(
                f"The folder of the sandboxes cannot be read: {error}. Is its disk mounted?"
            ) from error

    def half_deleted(self) -> list[str]:
        """Return the names of stopped sandboxes whose files are still there."""
        return sorted(path.name for path in self._ending.iterdir())

    def damaged(self) -> list[Path]:
        """Return the folders that were set aside."""
        return sorted(self._damaged.iterdir())

    def read(self, name: str) -> Record | None:
        """Return the record of a sandbox, or None when there is none (any more).

        Raises:
            DamagedRecordError: It cannot be understood.
            RuntimeUnavailableError: The disk does not give it.
        """
        folder = self.folder(name)
        try:
            try:
                return Record.from_json((folder / _RECORD).read_text("utf-8"))
            except FileNotFoundError:
                ending = Record.from_json((folder / _ENDING_RECORD).read_text("utf-8"))
                return dataclasses.replace(ending, ending=True)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise RuntimeUnavailableError(
                f"The record in {folder} cannot be read: {error}"
            ) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedRecordError(
                f"The record in {folder} is damaged ({error!r}). Acquire again."
            ) from error

    def add(self, record: Record) -> None:
        """Make the folder of a new sandbox; it counts from when its record is there."""
        folder = self.folder(record.name)
        folder.mkdir(mode=self._mode)
        (folder / "lock").touch(mode=0o600)
        workspace = folder / "workspace"
        workspace.mkdir(mode=0o700)
        if record.host_user is not None:
            os.chown(workspace, record.host_user, record.host_user)
        sync_folder(self._sandboxes)
        self.save(record)

    def is_unfinished(self, name: str, now_ms: int) -> bool:
        """Return whether a folder without a record is one that nobody is making any more."""
        try:
            made = self.folder(name).stat()
        except FileNotFoundError:
            return False  # ended since it was listed
        return now_ms - made.st_mtime_ns // 1_000_000 > _UNFINISHED_MS

    def has_files(self, name: str) -> bool:
        """Return whether anything is in a sandbox's workspace."""
        try:
            return any((self.folder(name) / "workspace").iterdir())
        except FileNotFoundError:
            return False

    def discard(self, name: str) -> None:
        """Put a folder away to be deleted."""
        self.folder(name).rename(self.ending_folder(name))

    def set_aside(self, name: str) -> Path:
        """Put a folder away for good, for its operator to look at, and return where it is."""
        place = self._damaged / name
        self.folder(name).rename(place)
        return place

    def save(self, record: Record) -> None:
        """Replace the record; its lock must be held."""
        write_whole(self.folder(record.name) / _RECORD, record.to_json())

    def mark_ending(self, record: Record) -> None:
        """Note that a sandbox never comes back; its lock must be held.

        A new name for what is there, since a full disk must not keep a sandbox from ending.
        """
        folder = self.folder(record.name)
        if not record.ending:
            (folder / _RECORD).rename(folder / _ENDING_RECORD)
            sync_folder(folder)

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[Record | None]:
        """Hold the lock of a sandbox and give its record; None when it is gone.

        Raises:
            RuntimeUnavailableError: Another process held it for 30 s.
        """
        with self.held(name) as there:
            yield self.read(name) if there else None

    @contextlib.contextmanager
    def held(self, name: str) -> Iterator[bool]:
        """Hold the lock of a sandbox, whatever its record says; False when its folder is gone.

        Raises:
            RuntimeUnavailableError: Another process held it for 30 s.
        """
        path = self.folder(name) / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except (FileNotFoundError, NotADirectoryError):
            yield False
            return
        try:
            _wait_for(lock, name)
            # It may have been moved away to be deleted while we waited.
            yield _same_file(lock, path)
        finally:
            os.close(lock)

    def owners(self) -> set[int]:
        """Return the user ids that files of sandboxes belong to."""
        parents = (self._sandboxes, self._ending, self._damaged)
        folders = [folder for parent in parents for folder in parent.iterdir()]
        return {user for user in map(owner, folders) if user is not None}


def owner(folder: Path) -> int | None:
    """Return the private user that a sandbox's files belong to; None when it is ours."""
    try:
        user = (folder / "workspace").lstat().st_uid
    except (FileNotFoundError, NotADirectoryError):
        return None
    return None if user == os.geteuid() else user


def _wait_for(lock: int, name: str) -> None:
    deadline = time.monotonic() + _LOCK_SECONDS
    pause = 0.001
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise RuntimeUnavailableError(
                    f"Another server process has been working on sandbox {name} for"
                    f" {_LOCK_SECONDS:.0f} s. Try again; if this persists, restart that process."
                ) from None
            time.sleep(pause)
            pause = min(pause * 2, 0.05)
        else:
            return


def _same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except OSError:
        return False
