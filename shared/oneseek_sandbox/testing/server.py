"""A real server in a process of its own: for tests, benchmarks and examples."""

from __future__ import annotations

import atexit
import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Self

import httpx

from oneseek_sandbox.leases.embedded import EmbeddedServer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

__all__ = ["LiveServer", "free_port", "live_servers"]

_START_SECONDS = 60.0
_STOP_SECONDS = 40.0
_NOT_INHERITED = ("PROVISIONER_", "ONESEEK_SANDBOX_", "PYTHONDONTWRITEBYTECODE")


def live_servers(folder: Path) -> Iterator[Callable[..., LiveServer]]:
    """Give a function that starts a server, for a fixture; all end when the iteration goes on."""
    servers: list[LiveServer] = []

    def start(**options: Any) -> LiveServer:  # noqa: ANN401  those of LiveServer
        own = folder / f"server {secrets.token_hex(4)}"
        own.mkdir()
        server = LiveServer(own, **options).__enter__()
        servers.append(server)
        return server

    try:
        yield start
    finally:
        # At once: each waits for its sandboxes, its connections and its store.
        with ThreadPoolExecutor(max_workers=8) as ends:
            list(ends.map(lambda server: server.__exit__(), servers))


def free_port() -> int:
    """Return a TCP port of the loopback address for a server that sets SO_REUSEADDR.

    It stays bound here, without listening, for as long as this process lives: the kernel gives it
    to nobody who leaves the choice to it, in any process.
    """
    taken = socket.socket()
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    taken.bind(("127.0.0.1", 0))
    atexit.register(taken.close)
    port: int = taken.getsockname()[1]
    return port


class LiveServer:
    """`oneseek-sandbox serve` as a process, on a port that stays the same over restarts.

    Args:
        folder: Gets the state (`home`) and the output (`server.log`).
        command: The program to run; left out, this interpreter's.
        settings: Further `PROVISIONER_*` variables.

    Attributes:
        environment: What the server gets, and another process that shares its state needs.
    """

    def __init__(
        self,
        folder: Path,
        *,
        key: str = "",
        command: list[str] | None = None,
        settings: dict[str, str] | None = None,
    ) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.key = key
        self.home = folder / "home"
        self.log = folder / "server.log"
        self._command = command or [sys.executable, "-m", "oneseek_sandbox.cli"]
        inherited = {
            k: v
            for k, v in os.environ.items()  # noqa: TID251 - passed on
            if not k.startswith(_NOT_INHERITED)
        }
        self.environment = inherited | {
            "PORT": str(self.port),
            "PROVISIONER_HOME": str(self.home),
            "PROVISIONER_API_KEY": key,
            **(settings or {}),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.kill()
            EmbeddedServer.stop(self.home)
            raise
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(httpx.HTTPError):
            self.release_all()
        self.stop()
        # The embedded store is made to outlive its servers.
        EmbeddedServer.stop(self.home)

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: It ended instead, or took longer than a minute; with what it printed.
        """
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*self._command, "serve"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self._is_ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The server did not start:\n{self.log.read_text()}")
            time.sleep(0.02)

    def stop(self) -> int | None:
        """End it in order and return its exit status; sandboxes stay."""
        if self.process is None:
            return None
        self.process.send_signal(signal.SIGTERM)
        try:
            status = self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self.process = None
        return status

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def restart_after_kill(self) -> None:
        """Kill it with -9 and start it again."""
        self.kill()
        self.start()

    def client(self) -> httpx.Client:
        """Return a client with the key in place."""
        return httpx.Client(**self._client_options())

    def async_client(self) -> httpx.AsyncClient:
        """Return the same for coroutines."""
        return httpx.AsyncClient(**self._client_options())

    def _client_options(self) -> dict[str, Any]:
        headers = {"authorization": f"Bearer {self.key}"} if self.key else {}
        return {"base_url": self.url, "headers": headers, "timeout": 60, "trust_env": False}

    def release_all(self) -> None:
        """End every sandbox; they would outlive the server."""
        with self.client() as client:
            for sandbox in client.get("/v1/sandbox").json()["sandboxes"]:
                client.post("/v1/sandbox/release", json={"sandbox_id": sandbox["sandbox_id"]})

    def _is_ready(self) -> bool:
        try:
            answer = httpx.get(f"{self.url}/healthz", timeout=2, trust_env=False)
        except httpx.TransportError:
            return False
        return answer.status_code == 200
