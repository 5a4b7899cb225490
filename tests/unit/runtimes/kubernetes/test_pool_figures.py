"""The figures of the warm pool are those of its Deployment, as each cleanup meets it."""

from __future__ import annotations

from oneseek_sandbox.runtimes.kubernetes.pod_spec import PodTemplate
from oneseek_sandbox.runtimes.kubernetes.upkeep import Upkeep
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.telemetry.instruments import metrics_text


class _Cluster:
    """Answers as if everything were there, and an autoscaler had changed the pool's size."""

    async def get(self, path):
        return {"metadata": {"annotations": {}}, "data": {}}

    async def merge(self, path, body, *, manager):
        return {}

    async def apply(self, path, body, *, manager):
        return {**body, "spec": {**body["spec"], "replicas": 5}, "status": {"readyReplicas": 3}}

    async def items(self, path, **query):
        return []


async def test_the_pool_is_counted_by_what_is_wanted_and_ready():
    settings = Settings(runtime="kubernetes", warm_pool_size=2, allow_open_network=True)
    template = PodTemplate(settings, b"worker")
    await Upkeep(settings, _Cluster(), template, b"worker").run()
    lines = metrics_text().splitlines()
    assert 'oneseek_sandbox_warm_pool{state="wanted"} 5' in lines
    assert 'oneseek_sandbox_warm_pool{state="ready"} 3' in lines
