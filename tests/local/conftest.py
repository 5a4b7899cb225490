"""Real sandboxes of this machine, and a way to run commands in them."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
import socket
import tempfile
from base64 import b64decode
from dataclasses import dataclass
from pathlib import Path

import pytest

from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local import host
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.runtimes.runtime import Labels, SandboxObject
from oneseek_sandbox.settings import Settings

TOKEN = "0123456789abcdef" * 4


@dataclass
class Answer:
    code: int | None
    output: str
    killed_by: str | None


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("sandbox", timeout=60)
        self._path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect(self._path)


def _call(sandbox: SandboxObject, path: str, body: dict, headers: dict[str, str]) -> bytes:
    connection = _Connection(sandbox.address.removeprefix("unix:"))
    try:
        connection.request("POST", path, json.dumps(body), headers)
        response = connection.getresponse()
        content = response.read()
        assert response.status == 200, content
        return content
    finally:
        connection.close()


class Commands:
    """Runs commands in sandboxes, claiming each first."""

    async def __call__(
        self, sandbox: SandboxObject, command: str, *, seconds: float = 20
    ) -> Answer:
        return await asyncio.to_thread(self._run, sandbox, command, seconds)

    def _run(self, sandbox, command, seconds):
        generation = sandbox.labels.generation
        claim = {"token": TOKEN, "generation": generation, "idle_seconds": 900}
        _call(sandbox, "/claim", claim, {})
        body = {
            "command": command,
            "timeout_ms": int(seconds * 1000),
            "grace_ms": 500,
            "max_output_bytes": 100_000,
            "stream": False,
        }
        headers = {"x-sandbox-token": TOKEN, "x-sandbox-generation": str(generation)}
        lines = _call(sandbox, "/execute", body, headers).splitlines()
        ended = json.loads(lines[-1])["exit"]
        output = "".join(
            b64decode(ended[stream][part]).decode("utf-8", "replace")
            for stream in ("stdout", "stderr")
            for part in ("head", "tail")
        )
        return Answer(ended["exit_code"], output.strip(), ended["killed_by"])


@pytest.fixture
def run():
    return Commands()


@pytest.fixture
def home():
    path = Path(tempfile.mkdtemp(prefix="oneseek-test-"))
    yield path
    assert not host.socket_folder(path).exists()
    shutil.rmtree(path)


@pytest.fixture
async def make_runtime(home):
    """Make opened runtimes over one home; in the end all sandboxes of it are stopped."""
    made = []

    async def make(**settings):
        runtime = LocalRuntime(Settings(home=home, **settings))
        await runtime.open()
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        for sandbox in await runtime.list():
            assert await runtime.stop(sandbox.uid, sandbox.name)
        await runtime.close()


@pytest.fixture
async def runtime(make_runtime):
    return await make_runtime(memory_limit_mb=256, tmp_limit_mb=16, process_limit=100)


@pytest.fixture
def labels():
    def make(thread="conversation", generation=1):
        return Labels(Thread("default", thread), generation, 900_000, f"{generation:032x}")

    return make


@pytest.fixture
async def sandbox(runtime, labels):
    return await runtime.create(labels())
