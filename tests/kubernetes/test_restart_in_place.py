"""A container that kubelet starts again has the old files, and nobody may take it for the old one."""

from __future__ import annotations

import asyncio
import json

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.creation import Creator
from oneseek_sandbox.errors import SandboxLostError, SandboxUnavailableError
from oneseek_sandbox.leases.memory import MemoryLeaseStore
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.worker.client import WorkerClient

pytestmark = pytest.mark.e2e

THREAD = Thread("default", "conversation-1")
WARM = "app=oneseek-sandbox-warm"
# As an out-of-memory kill of the first process would; nothing inside can end that one.
RESTART_ON_DEMAND = {
    "spec": {
        "containers": [
            {
                "name": "sandbox",
                "livenessProbe": {
                    "exec": {"command": ["test", "!", "-e", "/workspace/restart-me"]},
                    "periodSeconds": 1,
                    "failureThreshold": 1,
                },
            }
        ]
    }
}


@pytest.fixture
async def workers():
    workers = WorkerClient()
    yield workers
    await workers.close()


async def test_a_restarted_worker_is_refused_and_not_claimed_again(
    new_runtime, pods, workers, tmp_path
):
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps(RESTART_ON_DEMAND))
    runtime = await new_runtime(warm_pool_size=1, pod_patch_file=patch)
    await runtime.maintain()
    await pods.until(lambda found: bool(found) and _is_ready(found[0]), WARM)

    store, key = MemoryLeaseStore(LeaseTerms(idle_ms=900_000)), TokenKey(b"secret-of-the-tests")
    creator = Creator(store, runtime, workers, key, startup_seconds=30, creation_ms=60_000)
    lease = (await creator.create(await store.acquire(THREAD, attempt="a" * 32))).lease
    placement = lease.placement
    assert placement.warm
    await workers.write(lease, {"path": "/workspace/restart-me"}, b"")

    async with asyncio.timeout(60):
        while not await _restarted(pods, placement.name):
            await asyncio.sleep(0.2)
        while True:
            try:
                with pytest.raises(SandboxLostError, match="restarted"):
                    await workers.health(lease)
                break
            except SandboxUnavailableError:
                await asyncio.sleep(0.2)  # not listening yet
    with pytest.raises(SandboxLostError):
        await workers.claim(
            placement.address, token=placement.token, generation=lease.generation + 1, idle_ms=1000
        )


def _is_ready(pod):
    return all(
        container["ready"]
        for container in pod["status"].get("containerStatuses", [{"ready": False}])
    )


async def _restarted(pods, name):
    (container,) = (await pods.get(name))["status"]["containerStatuses"]
    return container["restartCount"] > 0
