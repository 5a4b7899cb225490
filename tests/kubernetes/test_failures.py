"""What does not start says why, in time, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.control.claiming import Claims
from oneseek_sandbox.control.creation import Creator
from oneseek_sandbox.errors import (
    CapacityError,
    RuntimeUnavailableError,
    SandboxLostError,
    SandboxStartError,
)
from oneseek_sandbox.leases.store import Creation, LeaseTerms, Thread
from oneseek_sandbox.runtimes.runtime import Labels
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.workers.client import WorkerClient

pytestmark = pytest.mark.e2e

WITHOUT_PYTHON = os.environ.get("VALKEY_IMAGE", "valkey/valkey:8.1-alpine")
THREAD = Thread("default", "conversation-1")


@pytest.fixture
async def create(new_runtime):
    """Create a sandbox as acquire does, with these settings."""
    workers = WorkerClient()

    async def create(*, seconds=20, **changes):
        runtime = await new_runtime(startup_timeout_seconds=seconds, **changes)
        await runtime.maintain()
        store = MemoryLeaseStore(LeaseTerms(idle_ms=900_000), FakeClock())
        creation = await store.acquire(THREAD, attempt="a" * 32)
        assert isinstance(creation, Creation)
        creator = Creator(
            store,
            runtime,
            Claims(runtime, workers, TokenKey(b"secret-of-the-tests"), startup_seconds=seconds),
            creation_ms=60_000,
        )
        return await creator.create(creation)

    yield create
    await workers.close()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"sandbox_image": "dev.local/none:1"}, ["dev.local/none:1", "is not available"]),
        ({"sandbox_image": WITHOUT_PYTHON}, ["no python3", WITHOUT_PYTHON]),
        (
            {"pod_memory_request": "900Gi", "pod_memory_limit": "900Gi", "seconds": 4},
            ["No node has capacity", "PROVISIONER_POD_MEMORY_REQUEST"],
        ),
    ],
)
async def test_a_sandbox_that_cannot_start_says_why_and_leaves_nothing(
    create, pods, changes, words
):
    with pytest.raises(SandboxStartError) as refused:
        await create(**changes)
    assert all(word in refused.value.message for word in words), refused.value.message
    await pods.until(lambda found: not found, "app=oneseek-sandbox-worker")


async def test_a_pod_that_the_cluster_forbids_is_explained(create, pods, tmp_path):
    patch = tmp_path / "patch.yaml"
    patch.write_text("spec: {hostNetwork: true}")
    with pytest.raises(SandboxStartError, match="PodSecurity"):
        await create(pod_patch_file=patch)
    assert await pods.all("app=oneseek-sandbox-worker") == []


async def test_a_used_up_quota_is_no_room(create, api, namespace):
    quota = {"metadata": {"name": "none"}, "spec": {"hard": {"pods": "0"}}}
    path = f"/api/v1/namespaces/{namespace}/resourcequotas"
    await api.create(path, quota)
    async with asyncio.timeout(20):
        while not (await api.get(f"{path}/none")).get("status", {}).get("hard"):
            await asyncio.sleep(0.1)
    with pytest.raises(CapacityError, match="quota"):
        await create()


async def test_a_namespace_that_is_not_there_is_named(new_runtime):
    runtime = await new_runtime(namespace="oneseek-none")
    with pytest.raises(RuntimeUnavailableError, match="oneseek-none"):
        await runtime.create(Labels(THREAD, 1, idle_ms=1000, sandbox_id="a" * 32))


async def test_a_pod_that_is_ending_is_not_taken_for_a_live_one(runtime, pods):
    sandbox = await runtime.create(Labels(THREAD, 1, idle_ms=1000, sandbox_id="a" * 32))
    (found,) = await runtime.find(THREAD)
    await pods.delete(sandbox.name, seconds=30)
    assert await runtime.find(THREAD) == []
    assert await runtime.list() == []
    assert await runtime.inspect(sandbox.uid, sandbox.name) == "gone"
    with pytest.raises(SandboxLostError):
        await runtime.adopt(found, Labels(THREAD, 2, idle_ms=1000, sandbox_id="b" * 32))
