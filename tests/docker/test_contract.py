"""The runtime contract on real containers."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.runtimes import RuntimeContract

pytestmark = pytest.mark.docker


class TestDockerRuntime(RuntimeContract):
    @pytest.fixture
    async def runtime(self, runtime):
        return runtime

    @pytest.fixture
    async def other_server(self, new_runtime):
        return await new_runtime()

    @pytest.fixture(autouse=True)
    def _engine_by_hand(self, engine):
        self._engine = engine

    async def kill(self, sandbox):
        self._engine.kill(sandbox.uid)
