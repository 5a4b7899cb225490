"""A real server in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any, Final

import httpx

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["LiveServer", "free_port"]

_START_SECONDS: Final = 30.0
_STOP_SECONDS: Final = 45.0


def free_port() -> int:
    """Return a loopback port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class LiveServer:
    """`oneseek-sandbox serve` on a free port, with a state folder and a key of its own.

    Args:
        home: State folder; kept when the server stops, so that a second start finds it.
        settings: More `PROVISIONER_*` variables, without the prefix.
    """

    def __init__(self, home: Path, **settings: str) -> None:
        self.home = home
        self.key = secrets.token_urlsafe()
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings = settings
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def headers(self) -> dict[str, str]:
        """The header that opens this server."""
        return {"authorization": f"Bearer {self.key}"}

    def environment(self) -> dict[str, str]:
        """Return what the server is started with: nothing secret of ours but its key."""
        kept = {
            name: value
            for name, value in os.environ.items()  # noqa: TID251
            if not name.startswith("PROVISIONER_") and name != "PYTHONDONTWRITEBYTECODE"
        }
        own = {f"PROVISIONER_{name}": value for name, value in self.settings.items()}
        return {
            **kept,
            "PROVISIONER_HOME": str(self.home),
            "PROVISIONER_API_KEY": self.key,
            "PORT": str(self.port),
            **own,
        }

    def start(self) -> LiveServer:
        """Start it and wait until it answers."""
        self.home.mkdir(parents=True, exist_ok=True)
        with (self.home / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "oneseek_sandbox.cli", "serve"],
                env=self.environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        deadline = time.monotonic() + _START_SECONDS
        while not self.is_up():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.kill()
                raise RuntimeError("The server did not start:\n" + self.log())
            time.sleep(0.02)
        return self

    def is_up(self) -> bool:
        """Return whether it answers now."""
        try:
            return httpx.get(self.url + "/healthz", timeout=2, trust_env=False).status_code == 200
        except httpx.HTTPError:
            return False

    def log(self) -> str:
        """Return what it has printed."""
        return (self.home / "server.log").read_text(errors="replace")

    def stop(self) -> int:
        """Stop it orderly and return its exit code."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_STOP_SECONDS)

    def kill(self) -> None:
        """Kill it with SIGKILL."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(_STOP_SECONDS)

    def client(self, **options: Any) -> httpx.AsyncClient:  # noqa: ANN401 - httpx's own options
        """Return an HTTP client that carries the key."""
        options.setdefault("timeout", 60)
        headers = {**self.headers, **options.pop("headers", {})}
        return httpx.AsyncClient(base_url=self.url, headers=headers, trust_env=False, **options)

    def release_all(self) -> None:
        """Release every sandbox, so that none outlives its test."""
        with (
            contextlib.suppress(httpx.HTTPError),
            httpx.Client(
                base_url=self.url, headers=self.headers, timeout=60, trust_env=False
            ) as client,
        ):
            for sandbox in client.get("/v1/sandbox").json().get("sandboxes", []):
                client.post("/v1/sandbox/release", json={"sandbox_id": sandbox["sandbox_id"]})
