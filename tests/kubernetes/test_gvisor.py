"""The same worker behind a kernel of its own, where the cluster has one."""

from __future__ import annotations

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.control.claiming import Claims
from oneseek_sandbox.control.creation import Creator
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.workers.client import WorkerClient
from oneseek_sandbox.workers.replies import Exit

pytestmark = pytest.mark.e2e


@pytest.fixture
async def gvisor(api, new_runtime):
    try:
        await api.get("/apis/node.k8s.io/v1/runtimeclasses/gvisor")
    except ApiRefusalError:
        pytest.skip("this cluster has no RuntimeClass gvisor")
    runtime = await new_runtime(runtime_class="gvisor")
    await runtime.maintain()
    return runtime


async def test_a_sandbox_behind_gvisor_runs_commands_and_keeps_files(gvisor):
    workers = WorkerClient()
    store, key = MemoryLeaseStore(LeaseTerms(idle_ms=900_000)), TokenKey(b"secret-of-the-tests")
    creator = Creator(
        store, gvisor, Claims(gvisor, workers, key, startup_seconds=60), creation_ms=60_000
    )
    creation = await store.acquire(Thread("default", "conversation-1"), attempt="a" * 32)
    lease = (await creator.create(creation)).lease

    async def run(command, seconds=20):
        request = {
            "command": command,
            "timeout_ms": 1000 * seconds,
            "grace_ms": 1000,
            "max_output_bytes": 10_000,
            "stream": False,
        }
        async for event in workers.execute(lease, request):
            if isinstance(event, Exit):
                return event
        raise AssertionError("no end")

    await workers.write(lease, {"path": "/workspace/file"}, b"kept")
    assert b"kept" in (await run("cat file")).stdout.head
    assert b"gVisor" in (await run("cat /proc/version; dmesg")).stdout.head
    stopped = await run("sleep 30 & sleep 30", seconds=1)
    assert stopped.timed_out
    assert (await workers.health(lease)).processes <= 1
    await workers.close()
