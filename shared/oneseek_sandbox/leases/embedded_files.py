"""The files of the embedded server: its data folder, its lock, and where its socket is."""

from __future__ import annotations

import hashlib
import logging
import os
import shutil
import signal
import stat
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.private_files import require_ours, take_folder, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ServerFiles"]

log = logging.getLogger(__name__)

_REPAIR_SECONDS: Final = 60.0
# sun_path of Linux, without its closing zero.
_LONGEST_SOCKET_PATH: Final = 107


class ServerFiles:
    """What lies in `redis/` of a home folder, which is made when it is not there.

    Raises:
        ConfigurationError: The folder cannot be made, or is not ours.
    """

    def __init__(self, home: Path) -> None:
        self.folder = home.absolute() / "redis"
        try:
            take_folder(self.folder)
        except OSError as error:
            raise ConfigurationError(
                f"The embedded Redis server cannot keep its data in {self.folder}: "
                f"{error.strerror}. Give another PROVISIONER_HOME, or set PROVISIONER_REDIS_URL."
            ) from error
        self.log = self.folder / "server.log"
        self.pid = self.folder / "server.pid"
        self._lock = self.folder / "server.lock"
        self._address = self.folder / "address"

    @contextmanager
    def lock(self) -> Iterator[int | None]:
        """Give the lock's descriptor, or None while a server (or its starter) holds it."""
        descriptor = os.open(self._lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor if try_lock(descriptor) else None
        finally:
            os.close(descriptor)

    def address(self) -> Path | None:
        """Return where the last starter put the socket."""
        with suppress(OSError):
            return Path(self._address.read_text(encoding="utf-8"))
        return None

    def new_address(self) -> Path:
        """Choose a socket path, and write it down for all who come later; needs the lock.

        Raises:
            ConfigurationError: It cannot be written.
        """
        address = _socket_folder(self.folder) / "redis.sock"
        # A server that is started again needs no room for it: the disk may be full just then.
        if self.address() != address:
            draft = self._address.with_suffix(".new")
            try:
                draft.write_text(str(address), encoding="utf-8")
                draft.replace(self._address)
            except OSError as error:
                raise ConfigurationError(
                    f"The embedded Redis server cannot write {draft}: {error.strerror}. Make room, "
                    "or give another PROVISIONER_HOME."
                ) from error
        return address

    def remove_address(self) -> None:
        """Tidy up after the server ended; needs the lock."""
        address = self.address()
        if address is not None:
            address.unlink(missing_ok=True)
            with suppress(OSError):
                address.parent.rmdir()
        self._address.unlink(missing_ok=True)

    def process_id(self) -> int | None:
        """Return the server's process id; None when it is not sure that it is our server."""
        with suppress(OSError, ValueError):
            pid = int(self.pid.read_text(encoding="ascii"))
            lock = self._lock.stat()
            for descriptor in Path(f"/proc/{pid}/fd").iterdir():
                with suppress(FileNotFoundError):
                    if os.path.samestat(descriptor.stat(), lock):
                        return pid
        return None

    def end_unreachable(self) -> None:
        """End a server whose socket was removed, as a logout does with its runtime folder."""
        pid = self.process_id()
        if pid is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def last_words(self) -> str:
        """Quote the last line of the log."""
        lines: list[str] = []
        with suppress(OSError):
            lines = self.log.read_text(encoding="utf-8", errors="replace").split("\n")
        last = next((line for line in reversed(lines) if line.strip()), "nothing")
        return f"Its log {self.log} ends with: {last.strip()[:300]}."

    def cut_torn_tail(self, program: str) -> bool:
        """Cut off what the server cannot read at the end of its file; needs the lock.

        The whole of it is kept in `damaged/`, one at a time.

        Returns:
            Whether there was such an end, and it is gone.
        """
        data, damaged = self.folder / "appendonlydir", self.folder / "damaged"
        parts = sorted(data.glob("*.incr.aof"), key=lambda part: int(part.name.split(".")[-3]))
        if not parts or "Bad file format reading the append only file" not in self.last_words():
            return False
        log.error("The lease store was damaged, most likely by a power cut. %s", self.last_words())
        shutil.rmtree(damaged, ignore_errors=True)
        shutil.copytree(data, damaged)
        # The server's program is also the tool for its files, under that name.
        name = Path(program).name.replace("server", "check-aof")
        repair = subprocess.run(
            [name, "--fix", str(parts[-1])],
            executable=program,
            input=b"y\n",
            env={},
            check=False,
            capture_output=True,
            timeout=_REPAIR_SECONDS,
        )
        return repair.returncode == 0


def _socket_folder(folder: Path) -> Path:
    """Return a private folder for the socket: data folders may be too long, or take no sockets."""
    user = os.geteuid()
    digest = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    name = f"oneseek-sandbox-{user}-{digest}"
    parents = ["/run", "/tmp"] if user == 0 else [f"/run/user/{user}", "/tmp"]  # noqa: S108
    problems = []
    for parent in map(Path, parents):
        candidate = parent / name
        try:
            candidate.mkdir(mode=0o700, exist_ok=True)
            _check_private(candidate)
        except OSError as error:
            problems.append(f"{candidate}: {error.strerror}")
            continue
        if len(os.fsencode(candidate)) + len("/redis.sock") <= _LONGEST_SOCKET_PATH:
            return candidate
    raise ConfigurationError(
        "The embedded Redis server has no private place for its socket: "
        + "; ".join(problems)
        + ". Remove what is in the way, or set PROVISIONER_REDIS_URL."
    )


def _check_private(folder: Path) -> None:
    """Refuse a folder that somebody else made, or can enter."""
    require_ours(folder)
    if stat.S_IMODE(folder.lstat().st_mode) & 0o077:
        raise PermissionError(0, "is open to other users; its mode must be 0700")
