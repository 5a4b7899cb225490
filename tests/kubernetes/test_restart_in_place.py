"""A container that kubelet starts again has its files, and they are given back to whose they are."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from tests.kubernetes.on_the_node import kill, processes_of

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control import assembly
from oneseek_sandbox.errors import (
    SandboxError,
    SandboxGoneError,
    SandboxLostError,
    UnavailableError,
)
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.models import (
    AcquireRequest,
    ExecuteRequest,
    LsRequest,
    ReadFileRequest,
    WriteFileRequest,
)
from oneseek_sandbox.runtimes.kubernetes.api import ApiRefusalError
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.workers.claims import ClaimConflictError
from oneseek_sandbox.workers.client import WorkerClient

pytestmark = pytest.mark.e2e

CALLER = Caller("test")
WARM = "app=oneseek-sandbox-warm"
RUNNING = "sleep 4321 &"
COUNT_RUNNING = "cat /proc/[0-9]*/cmdline | tr '\\0' ' ' | grep -o 'slee[p] 4321' | wc -l"
# Takes more than the limit of the tests' pods at once, with nobody left to say so.
GREEDY = "python3 -c 'import mmap; m = mmap.mmap(-1, 600 << 20); m.write(bytes(600 << 20))'"


@pytest.fixture
async def started(api, settings, new_runtime, monkeypatch):
    """A server over pods of a kind; returns it with its runtime and store."""
    servers = []

    async def start(kind, isolation):
        if isolation == "gvisor":
            try:
                await api.get("/apis/node.k8s.io/v1/runtimeclasses/gvisor")
            except ApiRefusalError:
                pytest.skip("this cluster has no RuntimeClass gvisor")
        runtime = await new_runtime(
            warm_pool_size=int(kind == "pooled"),
            runtime_class="gvisor" if isolation == "gvisor" else "",
        )
        await runtime.maintain()
        server = Server(runtime, settings, monkeypatch)
        servers.append(server)
        return server

    yield start
    for server in servers:
        await server.workers.close()
        await server.provisioner.close()


class Server:
    """The verbs of one server, over a store in memory."""

    def __init__(self, runtime, settings, monkeypatch):
        self.runtime = runtime
        self.store = MemoryLeaseStore(LeaseTerms(idle_ms=900_000))
        self.workers = WorkerClient()
        monkeypatch.setattr(assembly, "build_store", lambda _: self.store)
        monkeypatch.setattr(assembly, "build_runtime", lambda _: runtime)
        self.provisioner = assembly.build_provisioner(settings)

    async def acquire(self):
        """Acquire; a sandbox that is still on its way back is asked for again, as clients do."""
        async with asyncio.timeout(90):
            while True:
                try:
                    return await self.provisioner.acquire(AcquireRequest(thread_id="t"), CALLER)
                except UnavailableError:
                    await asyncio.sleep(0.3)

    async def execute(self, command):
        request = ExecuteRequest(thread_id="t", command=command, timeout_seconds=60)
        async for event in self.provisioner.execute(request, CALLER):
            last = event
        return last

    async def refusal(self):
        """Return how a call to what restarted is refused, once anything is known of it."""
        async with asyncio.timeout(60):
            while True:
                try:
                    await self.provisioner.ls(LsRequest(thread_id="t"), CALLER)
                except UnavailableError:
                    await asyncio.sleep(0.2)
                except SandboxError as error:
                    return error

    async def lease(self):
        return await self.store.get(Thread("default", "t"))


async def _begin(server, pods, kind):
    """Acquire a sandbox with a file and a running process; returns the answer and the pod's name."""
    if kind == "pooled":
        await pods.until(lambda found: bool(found) and _is_ready(found[0]), WARM, seconds=120)
    acquired = await server.acquire()
    assert acquired.warm is (kind == "pooled")
    write = WriteFileRequest(thread_id="t", path="/workspace/kept", content="of before")
    await server.provisioner.write_file(write, CALLER)
    await server.execute(RUNNING)
    assert (await server.execute(COUNT_RUNNING)).stdout == "1\n"
    return acquired, (await server.lease()).placement.name


async def _comes_back(server, acquired):
    again = await server.acquire()
    assert again.sandbox_id == acquired.sandbox_id
    assert (again.reused, again.restarted) == (True, True)
    read = ReadFileRequest(thread_id="t", path="/workspace/kept")
    assert (await server.provisioner.read_file(read, CALLER)).content == "of before"
    assert (await server.execute(COUNT_RUNNING)).stdout == "0\n"
    assert (await server.acquire()).restarted is False


@pytest.mark.finding(1)
@pytest.mark.parametrize("how", ["the first process", "all processes"])
@pytest.mark.parametrize("kind", ["cold", "pooled"])
async def test_a_container_that_was_ended_comes_back_with_its_files(started, pods, kind, how):
    server = await started(kind, "runc")
    acquired, name = await _begin(server, pods, kind)
    before = await server.lease()
    kill(processes_of(await pods.get(name), first_only=how == "the first process"))
    await _restarted(pods, name)

    refused = await server.refusal()
    assert isinstance(refused, SandboxGoneError)
    assert isinstance(refused, SandboxLostError)
    placement = before.placement
    assert await server.runtime.inspect(placement.uid, placement.name) == "running"
    assert "started again" in await server.runtime.explain(placement.uid, placement.name)
    with pytest.raises(ClaimConflictError):
        await server.workers.claim(
            placement.address, token="another" * 9, generation=before.generation, idle_ms=1000
        )
    await _comes_back(server, acquired)


@pytest.mark.finding(21)
@pytest.mark.parametrize("kind", ["cold", "pooled"])
async def test_a_sandbox_behind_gvisor_over_its_memory_limit_comes_back_at_its_new_address(
    started, pods, kind
):
    server = await started(kind, "gvisor")
    acquired, name = await _begin(server, pods, kind)
    address = (await server.lease()).placement.address
    with contextlib.suppress(SandboxError):
        await server.execute(GREEDY)
    await _restarted(pods, name)
    await _comes_back(server, acquired)
    assert (await server.lease()).placement.address != address


@pytest.mark.finding(1)
async def test_a_pod_that_was_deleted_is_lost_and_the_next_one_is_new(started, pods):
    server = await started("cold", "runc")
    acquired, name = await _begin(server, pods, "cold")
    await pods.delete(name)
    async with asyncio.timeout(60):  # its processes outlive it for a moment, and answer
        while (new := await server.acquire()).sandbox_id == acquired.sandbox_id:
            await asyncio.sleep(0.2)
    assert (new.reused, new.restarted) == (False, False)


@pytest.mark.finding(22)
async def test_a_command_whose_pod_is_deleted_at_once_is_told_within_seconds(started, pods):
    server = await started("cold", "runc")
    _, name = await _begin(server, pods, "cold")
    running = asyncio.create_task(server.execute("sleep 60"))
    lease = await server.lease()
    async with asyncio.timeout(20):
        while (await server.workers.health(lease)).commands == 0:
            await asyncio.sleep(0.1)
    begun = asyncio.get_running_loop().time()
    await pods.delete(name)
    with pytest.raises(SandboxError) as told:
        await running
    assert told.value.may_have_run is True
    assert asyncio.get_running_loop().time() - begun < 25


def _is_ready(pod):
    return all(
        container["ready"]
        for container in pod["status"].get("containerStatuses", [{"ready": False}])
    )


async def _restarted(pods, name):
    async with asyncio.timeout(90):
        while True:
            (container,) = (await pods.get(name))["status"]["containerStatuses"]
            if container["restartCount"] > 0:
                return
            await asyncio.sleep(0.2)
