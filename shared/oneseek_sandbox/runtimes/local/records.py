"""What is kept on disk of each sandbox, and the lock that makes changes to it safe.

    sandboxes/<name>/object.json   the record: labels, ids, whether it was claimed
                     lock          held while somebody creates, adopts, stops or marks it
                     status        held by the sandbox's own monitor for as long as it lives
                     start.log     what bubblewrap and the worker wrote to stderr
                     workspace/    the files
    ending/<name>/                 a stopped sandbox whose files are being deleted
    programs/                      the worker, compiled for the sandboxes' Python
    users/<uid>                    user ids taken by sandboxes, when the server is root

Several server processes may share the folder; nothing is remembered between calls.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import json
import os
import secrets
import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.errors import CapacityError, RuntimeUnavailableError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["Record", "Records", "new_name"]

_LOCK_SECONDS = 30.0
_UNFINISHED_MS = 60_000


@dataclass(frozen=True, slots=True)
class Record:
    """A sandbox as it is on disk.

    Attributes:
        host_user: The private user id its processes run as; None when the server is not root.
        claimed: Its worker was claimed once, so its files are worth keeping.
        restarted: Its processes were lost since, and nobody claimed the new ones yet.
        ending: It is being stopped; it never comes back.
        groups: Its control groups.
    """

    uid: str
    name: str
    labels: Labels
    host_user: int | None = None
    claimed: bool = False
    restarted: bool = False
    ending: bool = False
    groups: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the text of `object.json`."""
        return json.dumps({"version": 1, **dataclasses.asdict(self)}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Record:
        """Read the text of `object.json`.

        Raises:
            ValueError: It is not one; also KeyError and TypeError.
        """
        values: dict[str, Any] = json.loads(text)
        labels = values["labels"]
        return cls(
            uid=values["uid"],
            name=values["name"],
            labels=Labels(**{**labels, "thread": Thread(**labels["thread"])}),
            host_user=values["host_user"],
            claimed=values["claimed"],
            restarted=values["restarted"],
            ending=values["ending"],
            groups=tuple(values["groups"]),
        )


def _prefix(thread: Thread) -> str:
    text = f"{len(thread.scope)}:{thread.scope}{thread.thread_id}"
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def new_name(thread: Thread) -> str:
    """Return a name for a new sandbox of `thread`, never used before."""
    return f"{_prefix(thread)}-{uuid.uuid4().hex[:12]}"


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
        self.programs = home / "programs"

    def prepare(self) -> None:
        """Make the folders."""
        self.home.mkdir(parents=True, exist_ok=True, mode=self._mode)
        for folder in (self._sandboxes, self._ending, self.programs, self.home / "users"):
            folder.mkdir(exist_ok=True, mode=self._mode)

    def folder(self, name: str) -> Path:
        """Return where a sandbox is kept."""
        return self._sandboxes / name

    def ending_folder(self, name: str) -> Path:
        """Return where a stopped sandbox waits for its deletion."""
        return self._ending / name

    def names(self, thread: Thread | None = None) -> list[str]:
        """Return the names of all sandboxes, or of a thread's."""
        start = f"{_prefix(thread)}-" if thread else ""
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

    def read(self, name: str) -> Record | None:
        """Return the record of a sandbox, or None when there is none (any more)."""
        try:
            return Record.from_json((self.folder(name) / "object.json").read_text("utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RuntimeUnavailableError(
                f"{self.folder(name) / 'object.json'} cannot be read: {error}"
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
        self.save(record)

    def discard_unfinished(self, name: str, now_ms: int) -> None:
        """Put a folder without a record away to be deleted, if nobody can be making it any more."""
        folder = self.folder(name)
        if now_ms - folder.stat().st_mtime_ns // 1_000_000 > _UNFINISHED_MS:
            folder.rename(self.ending_folder(name))

    def save(self, record: Record) -> None:
        """Replace the record; its lock must be held."""
        _write_whole(self.folder(record.name) / "object.json", record.to_json())

    @contextlib.contextmanager
    def locked(self, name: str) -> Iterator[Record | None]:
        """Hold the lock of a sandbox and give its record; None when it is gone.

        Raises:
            RuntimeUnavailableError: Another process held it for 30 s.
        """
        path = self.folder(name) / "lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            yield None
            return
        try:
            _wait_for(lock, name)
            # It may have been moved away to be deleted while we waited.
            yield self.read(name) if _same_file(lock, path) else None
        finally:
            os.close(lock)

    def take_user(self, users: range) -> int:
        """Reserve a user id that no other sandbox has.

        Raises:
            CapacityError: None was free in a thousand tries.
        """
        for _ in range(1000):
            user = users.start + secrets.randbelow(len(users))
            with contextlib.suppress(FileExistsError):
                (self.home / "users" / str(user)).touch(exist_ok=False, mode=0o600)
                return user
        raise CapacityError("No user id is free for another sandbox; release some first.")

    def give_back_user(self, user: int) -> None:
        """Let others have a user id again; nothing may be left that belongs to it."""
        (self.home / "users" / str(user)).unlink(missing_ok=True)


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
                    f" {_LOCK_SECONDS:.0f} s. Try again; if it stays so, restart that process."
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


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    temporary.write_text(text, encoding="utf-8")
    temporary.chmod(0o600)
    temporary.replace(path)
