"""The runtime contract on every implementation."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from oneseek_sandbox.runtimes.local import host, liveness
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.runtimes import RuntimeContract


class TestLocalRuntime(RuntimeContract):
    @pytest.fixture
    def home(self, tmp_path):
        yield tmp_path
        assert not host.socket_folder(tmp_path).exists()

    @pytest.fixture
    async def runtime(self, home):
        runtime = LocalRuntime(Settings(home=home))
        await runtime.open()
        yield runtime
        for sandbox in await runtime.list():
            assert await runtime.stop(sandbox.uid, sandbox.name)
        await runtime.close()

    @pytest.fixture
    async def other_server(self, runtime, home):
        other = LocalRuntime(Settings(home=home))
        await other.open()
        yield other
        await other.close()

    async def kill(self, sandbox):
        socket = Path(sandbox.address.removeprefix("unix:"))
        assert socket.exists()
        status = next(Path(self._home).glob(f"sandboxes/{sandbox.name}/status"))
        os.kill(liveness.first_process(status), signal.SIGKILL)
        await asyncio.sleep(0)

    @pytest.fixture(autouse=True)
    def _remember_home(self, home):
        self._home = home
