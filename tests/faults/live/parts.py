"""The server processes of a system: gateways, or one for each function."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx

from oneseek_sandbox.testing.server import free_port

__all__ = ["KEY", "Part", "functions", "gateways"]

KEY = "key-of-the-live-schedules"
GATEWAY = Path(__file__).with_name("gateway.py")
FUNCTIONS = Path(__file__).parents[3] / "functions"
VERBS = (
    "acquire",
    "execute",
    "ls",
    "read_file",
    "write_file",
    "replace",
    "release",
    "cleanup_idle",
)

_START_SECONDS = 60.0
_STARTS = 3
_STOP_SECONDS = 40.0
_NOT_INHERITED = ("PROVISIONER_", "ONESEEK_SANDBOX_", "FAULTS_", "OTEL_")


class Part:
    """One process that serves some verbs on a port of its own, the same after every start."""

    def __init__(
        self, name: str, command: list[str], environment: dict[str, str], log: Path
    ) -> None:
        self.name = name
        self.port = free_port()
        self.log = log
        self._command = [word.replace("{port}", str(self.port)) for word in command]
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(_NOT_INHERITED)}
        self._environment = inherited | environment | {"PORT": str(self.port)}
        self.process: subprocess.Popen[bytes] | None = None
        self.paused = False
        self._removed = False

    def launch(self) -> None:
        """Start it, without waiting; nothing happens when it runs, or was removed."""
        if self._removed or (self.process is not None and self.process.poll() is None):
            return
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_ready(self) -> None:
        """Wait until it answers; one that ends is started again, a few times, as anywhere.

        Raises:
            RuntimeError: It ended each time, or takes longer than a minute.
        """
        starts, deadline = 1, time.monotonic() + _START_SECONDS
        while True:
            try:
                url = f"http://127.0.0.1:{self.port}/healthz"
                if httpx.get(url, timeout=5, trust_env=False).status_code == 200:
                    return
            except httpx.TransportError:
                pass
            ended = self.process is None or self.process.poll() is not None
            if ended and starts < _STARTS:
                starts += 1
                self.launch()
            elif ended or time.monotonic() > deadline:
                raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text()[-3000:]}")
            time.sleep(0.03)

    def kill(self) -> None:
        """End it with SIGKILL."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        self.paused = False

    def remove(self) -> None:
        """Kill it for good, also if a thread still waits for its start."""
        self._removed = True
        self.kill()

    def pause(self, paused: bool) -> None:
        """Send SIGSTOP, or SIGCONT."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGSTOP if paused else signal.SIGCONT)
            self.paused = paused

    def stop(self) -> int | None:
        """End it in order, and return its exit status; None when it had to be killed."""
        if self.process is None:
            return 0
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            return None


def gateways(folder: Path, environment: dict[str, str], count: int = 2) -> dict[str, list[Part]]:
    """Return the gateways, for every verb."""
    command = [sys.executable, str(GATEWAY), "serve"]
    parts = [
        Part(f"gateway {n}", command, environment, folder / f"gateway-{n}.log")
        for n in range(count)
    ]
    return dict.fromkeys(VERBS, parts)


def functions(folder: Path, environment: dict[str, str]) -> dict[str, list[Part]]:
    """Return one process for each verb, as Knative runs them."""
    command = [sys.executable, "-m", "uvicorn", "functions_framework.aio:app"]
    command += ["--lifespan", "on", "--port", "{port}", "--log-level", "warning"]

    def part(verb: str) -> Part:
        source = {"FUNCTION_TARGET": verb, "FUNCTION_SOURCE": str(FUNCTIONS / verb / "main.py")}
        return Part(verb, command, environment | source, folder / f"{verb}.log")

    return {verb: [part(verb)] for verb in VERBS}
