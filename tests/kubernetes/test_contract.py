"""The runtime contract on real pods."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.runtimes import RuntimeContract

pytestmark = pytest.mark.e2e


class TestKubernetesRuntime(RuntimeContract):
    can_restart = False

    @pytest.fixture
    async def runtime(self, runtime):
        return runtime

    @pytest.fixture
    async def other_server(self, new_runtime):
        return await new_runtime()

    @pytest.fixture(autouse=True)
    def _pods_by_hand(self, pods):
        self._pods = pods

    async def kill(self, sandbox):
        await self._pods.delete(sandbox.name)


class TestWarmPods(TestKubernetesRuntime):
    """The same, on pods out of the pool."""

    @pytest.fixture
    async def runtime(self, new_runtime, pods):
        runtime = await new_runtime(warm_pool_size=4)
        await runtime.maintain()
        await pods.until(_four_run, "app=oneseek-sandbox-warm")
        return runtime


def _four_run(found):
    return len([pod for pod in found if pod["status"].get("phase") == "Running"]) == 4
