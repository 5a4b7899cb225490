"""Writes past a sandbox's disk limit are refused; what comes too fast evicts it, and that is said."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.control.claiming import Claims
from oneseek_sandbox.control.creation import Creator
from oneseek_sandbox.errors import WorkspaceFullError
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.workers.client import WorkerClient
from oneseek_sandbox.workers.replies import Exit

pytestmark = pytest.mark.e2e

THREAD = Thread("default", "conversation-1")
MIB = 1024**2
# All of it in one call: the worker stops the command when it looks next, and deletes nothing.
TAKE_AT_ONCE = "python3 -c 'import os; os.posix_fallocate(os.open(\"big\", 66), 0, 32 << 20)'"


@pytest.fixture
async def runtime(new_runtime):
    runtime = await new_runtime(pod_disk_limit="8Mi")
    await runtime.maintain()
    return runtime


@pytest.fixture
async def workers():
    workers = WorkerClient()
    yield workers
    await workers.close()


@pytest.fixture
async def lease(runtime, workers):
    store, key = MemoryLeaseStore(LeaseTerms(idle_ms=900_000)), TokenKey(b"secret-of-the-tests")
    claims = Claims(runtime, workers, key, startup_seconds=60)
    creator = Creator(store, runtime, claims, creation_ms=60_000)
    return (await creator.create(await store.acquire(THREAD, attempt="a" * 32))).lease


@pytest.mark.finding(12)
async def test_a_write_past_the_disk_limit_is_refused_and_the_sandbox_lives(
    runtime, workers, lease
):
    with pytest.raises(WorkspaceFullError):
        await workers.write(lease, {"path": "/workspace/big"}, b"x" * 32 * MIB)
    await workers.write(lease, {"path": "/workspace/small"}, b"x" * MIB)
    listed = await workers.ls(lease, {"path": "/workspace"})
    assert [entry.path for entry in listed.entries] == ["/workspace/small"]
    assert await runtime.inspect(lease.placement.uid, lease.placement.name) == "running"


@pytest.mark.finding(12)
async def test_a_sandbox_over_its_disk_limit_is_evicted_and_says_why(runtime, workers, lease, pods):
    uid, name = lease.placement.uid, lease.placement.name
    assert await runtime.inspect(uid, name) == "running"
    await _run(workers, lease, TAKE_AT_ONCE)
    # Kubelet measures volumes now and then.
    async with asyncio.timeout(150):
        while await runtime.inspect(uid, name) != "gone":
            await asyncio.sleep(0.5)
    assert "evicted" in await runtime.explain(uid, name)
    assert await runtime.find(THREAD) == []
    await runtime.maintain()
    await pods.until(lambda found: not found, "app=oneseek-sandbox-worker")


async def _run(workers, lease, command):
    request = {
        "command": command,
        "timeout_ms": 60_000,
        "grace_ms": 1000,
        "max_output_bytes": 10_000,
        "stream": False,
    }
    async for event in workers.execute(lease, request):
        last = event
    assert isinstance(last, Exit)
    assert last.exit_code == 0 or last.killed_by == "disk_limit"
