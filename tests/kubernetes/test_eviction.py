"""A sandbox that outgrows its disk limit is evicted by its node, and that is said."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.claiming import Claims
from oneseek_sandbox.creation import Creator
from oneseek_sandbox.leases.memory import MemoryLeaseStore
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.worker.client import WorkerClient

pytestmark = pytest.mark.e2e

THREAD = Thread("default", "conversation-1")


async def test_a_sandbox_over_its_disk_limit_is_evicted_and_says_why(new_runtime, pods):
    runtime = await new_runtime(pod_disk_limit="8Mi")
    await runtime.maintain()
    workers = WorkerClient()
    store, key = MemoryLeaseStore(LeaseTerms(idle_ms=900_000)), TokenKey(b"secret-of-the-tests")
    creator = Creator(
        store, runtime, Claims(runtime, workers, key, startup_seconds=60), creation_ms=60_000
    )
    lease = (await creator.create(await store.acquire(THREAD, attempt="a" * 32))).lease
    uid, name = lease.placement.uid, lease.placement.name
    assert await runtime.inspect(uid, name) == "running"

    await workers.write(lease, {"path": "/workspace/big"}, b"x" * 32 * 1024 * 1024)
    await workers.close()
    # Kubelet measures volumes now and then.
    async with asyncio.timeout(150):
        while await runtime.inspect(uid, name) != "gone":
            await asyncio.sleep(0.5)
    assert "evicted" in await runtime.explain(uid, name)
    assert await runtime.find(THREAD) == []
    await runtime.maintain()
    await pods.until(lambda found: not found, "app=oneseek-sandbox-worker")
