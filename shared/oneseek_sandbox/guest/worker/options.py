"""The command line."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oneseek_sandbox.guest.worker.kernel import OutOfMemoryScore

__all__ = ["DISK_OPTIONS", "FILE_SCOPES", "Options"]

FILE_SCOPES = ("workspace", "sandbox")
DISK_OPTIONS = ("--disk-limit", "--disk-floor", "--tmp-limit")


class Options:
    """The command line."""

    def __init__(self, arguments: list[str], score: OutOfMemoryScore) -> None:
        self.score = score
        self.listen_fd: int | None = None
        self.listen: str | None = None
        self.workspace = "/workspace"
        self.file_scope = "workspace"
        self.private: list[str] = []
        self.marker: str | None = None
        self.uid: str | None = None
        self.memory_events: str | None = None
        self.max_commands = 64
        self.max_processes = 0
        self.end_excess = False
        self.disk_limit = 0
        self.disk_floor = 0
        self.tmp_limit = 0
        self.unclaimed_exit = False
        rest = iter(arguments)
        for option in rest:
            if option in ("--unclaimed-exit", "--end-excess"):
                setattr(self, option[2:].replace("-", "_"), True)
            else:
                self._take(option, next(rest, None))
        if (self.listen_fd is None) == (self.listen is None):
            raise SystemExit("worker.py: give --listen-fd N or --listen HOST:PORT")
        if self.memory_events is None:
            self.memory_events = self._find_memory_events()

    def _take(self, option: str, value: str | None) -> None:
        if value is None:
            raise SystemExit(f"worker.py: {option} needs a value")
        if option == "--private":
            self.private.append(value)
        elif option == "--file-scope" and value in FILE_SCOPES:
            self.file_scope = value
        elif option in ("--listen", "--workspace", "--marker", "--uid", "--memory-events"):
            setattr(self, option[2:].replace("-", "_"), value)
        elif (
            option in ("--listen-fd", "--max-commands", "--max-processes", *DISK_OPTIONS)
            and value.isdigit()
        ):
            setattr(self, option[2:].replace("-", "_"), int(value))
        else:
            raise SystemExit(f"worker.py: unknown option or value: {option} {value}")

    @staticmethod
    def _find_memory_events() -> str | None:
        paths = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")
        return next((path for path in paths if os.access(path, os.R_OK)), None)

    def open_listener(self) -> socket.socket:
        """Return the listening socket, non-blocking."""
        if self.listen_fd is not None:
            sock = socket.socket(fileno=self.listen_fd)
            os.set_inheritable(self.listen_fd, False)
        else:
            host, _, port = (self.listen or "").rpartition(":")
            host = host.strip("[]")
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, int(port)))
            sock.listen(128)
        sock.setblocking(False)
        return sock
