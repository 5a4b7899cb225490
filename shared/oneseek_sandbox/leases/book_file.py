"""The file that a lease book is kept in: locked, replaced as a whole, refused when it is not sound.

Blocking; `keeper.py` calls it in a thread of its own.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.durable import sync_folder
from oneseek_sandbox.errors import ConfigurationError, StoreUnavailableError
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.private_files import take_folder, try_lock
from oneseek_sandbox.leases.reserve import Reserve, is_full
from oneseek_sandbox.leases.serialization import BookFormatError, read_book, write_book

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from oneseek_sandbox.leases.store import LeaseTerms

__all__ = ["BookFile"]

log = logging.getLogger(__name__)

# How often a lock that somebody has is tried. A wait inside flock would be fair, and without end:
# no deadline and no signal reaches it in a thread.
_PAUSE_SECONDS: Final = 0.001

# How much of the reserve is freed at once on a full disk, on top of what is to be written.
_PART_BYTES: Final = 64 * 1024


class BookFile:
    """`leases/book` in a home folder, for all processes of one machine and one user.

    A writer holds the lock from before it reads until its file has taken the old one's place, so
    the kernel ends its turn when it is killed, and what it leaves is the old file or the new one.
    The lock is a file of its own, as a lock on a file that is replaced would be one on the past.
    """

    def __init__(self, home: Path, terms: LeaseTerms) -> None:
        self.folder = home.absolute() / "leases"
        self.path = self.folder / "book"
        self._draft = self.folder / "book.new"
        self._lock = self.folder / "book.lock"
        self._reserve = Reserve(home.absolute())
        self._terms = terms
        # The bytes last read or written (None: there was no file) and the book they stand for.
        self._known: tuple[bytes | None, LeaseBook] | None = None

    def prepare(self, until: float) -> None:
        """Make the folder, tidy up after writers that died, and see that the file can be read.

        Args:
            until: On the monotonic clock, in seconds; how long to wait for the lock.

        Raises:
            ConfigurationError: The folder cannot be used, or the file is not sound.
            StoreUnavailableError: Somebody has the lock.
        """
        try:
            take_folder(self.folder)
            with self._locked(until):
                self._draft.unlink(missing_ok=True)
                self._read()
                self._reserve.take()
        except OSError as error:
            raise ConfigurationError(
                f"Leases cannot be kept in {self.folder}: {error.strerror}. Give another "
                "PROVISIONER_HOME on a disk of this machine, or another PROVISIONER_STATE_STORE."
            ) from error

    def read(self) -> LeaseBook:
        """Return the book as it is now, not to be changed; needs no lock, for files are never half.

        Raises:
            ConfigurationError: The file is not sound.
            StoreUnavailableError: It cannot be read.
        """
        with self._explained():
            return self._read()

    @contextmanager
    def changing(self, until: float) -> Iterator[LeaseBook]:
        """Give the book to be changed, and keep what it became; write nothing if it is the same.

        Args:
            until: On the monotonic clock, in seconds; how long to wait for the lock.

        Raises:
            ConfigurationError: The file is not sound.
            StoreUnavailableError: Somebody has the lock, or the disk refuses.
        """
        with self._explained(), self._locked(until):
            book = self._read()
            try:
                yield book
                self._write(book)
            except BaseException:
                # It may be half changed, or on disk without our knowing: read it again.
                self._known = None
                raise

    def _read(self) -> LeaseBook:
        data = self._content()
        # All of it is compared: two files may have the same inode, size and time of change.
        if self._known is None or self._known[0] != data:
            if data is None and self._known is not None:
                log.warning("%s is gone: leases begin anew, what runs is adopted", self.path)
            self._known = (data, self._parsed(data))
        return self._known[1]

    def _content(self) -> bytes | None:
        # Not blocking: a pipe in its place would keep us for ever.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            descriptor = os.open(self.path, flags)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise self._unsound("is a symlink", "Move it away") from error
            raise
        try:
            self._check(os.fstat(descriptor))
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read()
        finally:
            os.close(descriptor)

    def _check(self, found: os.stat_result) -> None:
        if not stat.S_ISREG(found.st_mode):
            raise self._unsound("is not a regular file", "Move it away")
        if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
            raise self._unsound(
                "can be read or written by other users, who could take over sandboxes",
                f"If nobody did, give it to this server's user and run chmod 600 {self.path}; "
                "else move it away",
            )

    def _parsed(self, data: bytes | None) -> LeaseBook:
        if data is None:
            return LeaseBook(self._terms)
        try:
            return read_book(data, self._terms)
        except BookFormatError as error:
            raise self._unsound(str(error), "Move it away") from error

    def _write(self, book: LeaseBook) -> None:
        """Put the book in the file's place; needs the lock. Killed anywhere, it did so or did not."""
        data = write_book(book)
        before = self._known[0] if self._known else None
        if data == (before or write_book(LeaseBook(self._terms))):
            return
        try:
            self._write_draft_somehow(data)
            self._draft.replace(self.path)
        except BaseException:
            with suppress(OSError):
                self._draft.unlink(missing_ok=True)
            raise
        sync_folder(self.folder)
        self._known = (data, book)
        self._reserve.take()

    def _write_draft_somehow(self, data: bytes) -> None:
        while True:
            try:
                self._write_draft(data)
            except OSError as error:
                if not (is_full(error) and self._reserve.give_up(_PART_BYTES + len(data))):
                    raise
            else:
                return

    def _write_draft(self, data: bytes) -> None:
        self._draft.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        descriptor = os.open(self._draft, flags, 0o600)
        try:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            # Else a power cut could leave the new name with nothing in it.
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    @contextmanager
    def _locked(self, until: float) -> Iterator[None]:
        descriptor = self._take_lock(until)
        try:
            yield
        finally:
            # Said, not left to close: a child that is just being started has a copy for a moment.
            fcntl.flock(descriptor, fcntl.LOCK_UN)
            os.close(descriptor)

    def _take_lock(self, until: float) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        while True:
            descriptor = os.open(self._lock, flags, 0o600)
            try:
                # Somebody may have moved the folder away since it was opened.
                if try_lock(descriptor) and os.path.samestat(
                    os.fstat(descriptor), self._lock.stat()
                ):
                    return descriptor
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)
            if time.monotonic() >= until:
                raise StoreUnavailableError(
                    f"Another process has had the lock of the leases, {self._lock}, for too long. "
                    f"Try again; if this persists, its operator should look at that process, which "
                    f"'fuser -v {self._lock}' names."
                )
            time.sleep(_PAUSE_SECONDS)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreUnavailableError(
                f"The leases in {self.folder} cannot be read or written ({error.strerror}). Try "
                "again; if this persists, its operator should look at that folder and its disk."
            ) from error

    def _unsound(self, problem: str, fix: str) -> ConfigurationError:
        return ConfigurationError(
            f"The lease file {self.path} {problem}. {fix}: without it leases begin anew, and "
            "running sandboxes are adopted from their labels."
        )
