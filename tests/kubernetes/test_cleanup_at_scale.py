"""A thousand sandboxes expire at once, and one round of the cleanup asks all of them to end.

Needs simulated nodes (KWOK) with the label type=kwok and room for a thousand pods; skipped without.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import time

import pytest

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control import assembly
from oneseek_sandbox.leases.store import LeaseTerms, Placement, Thread
from oneseek_sandbox.models import CleanupIdleRequest
from oneseek_sandbox.runtimes.kubernetes.pod_metadata import fresh_metadata
from oneseek_sandbox.runtimes.runtime import Labels, SandboxObject
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore

pytestmark = pytest.mark.e2e

COUNT = 1000
AT_ONCE = 32
BETWEEN_ROUNDS_SECONDS = 60
SIMULATED = {
    "spec": {
        "nodeSelector": {"type": "kwok"},
        "tolerations": [{"key": "kwok.x-k8s.io/node", "operator": "Exists"}],
    }
}
STUCK = 150
RESTRICTED = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
CLOSED = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@pytest.fixture
async def simulated(api, new_runtime, tmp_path):
    nodes = await api.items("/api/v1/nodes", labelSelector="type=kwok")
    if len(nodes) * 1000 < COUNT + STUCK:
        pytest.skip("there are not enough simulated nodes with the label type=kwok")
    patch = tmp_path / "patch.json"
    patch.write_text(json.dumps(SIMULATED))
    return await new_runtime(pod_patch_file=patch)


@pytest.fixture
async def on_a_dead_node(api, namespace):
    """Make pods on a node whose kubelet is gone, and never says that one has ended."""
    node = f"dead-{secrets.token_hex(4)}"
    await api.create("/api/v1/nodes", {"metadata": {"name": node}})

    async def create(labels):
        name = f"stuck-{secrets.token_hex(8)}"
        tags, annotations = fresh_metadata(labels, now_ms=1)
        spec = {"nodeName": node, "containers": [{"name": "sandbox", "image": "none"}]}
        body = {"metadata": {"name": name, "labels": tags, "annotations": annotations}}
        spec |= {"securityContext": RESTRICTED, "tolerations": [{"operator": "Exists"}]}
        spec["containers"][0]["securityContext"] = CLOSED
        pod = await api.create(f"/api/v1/namespaces/{namespace}/pods", {**body, "spec": spec})
        return SandboxObject(pod["metadata"]["uid"], name, "tcp:192.0.2.1:1", labels)

    yield create
    await api.delete(f"/api/v1/nodes/{node}")


@pytest.mark.finding(16)
async def test_one_round_asks_a_thousand_expired_sandboxes_to_end_behind_some_that_stay(
    simulated, on_a_dead_node, settings, pods, monkeypatch
):
    clock = FakeClock()
    store = MemoryLeaseStore(LeaseTerms(idle_ms=1000, creation_ms=3_600_000), clock)
    monkeypatch.setattr(assembly, "build_store", lambda _: store)
    monkeypatch.setattr(assembly, "build_runtime", lambda _: simulated)
    provisioner = assembly.build_provisioner(settings)

    async def clean_up():
        begun = time.monotonic()
        done = await provisioner.cleanup_idle(CleanupIdleRequest(), Caller("test"))
        return done.expired, time.monotonic() - begun

    await _expired(store, clock, on_a_dead_node, STUCK)
    assert (await clean_up())[0] == STUCK
    await _expired(store, clock, simulated.create, COUNT)
    clock.advance(1000 * BETWEEN_ROUNDS_SECONDS)
    expired, seconds = await clean_up()
    print(f"\n{expired} expired, asked to end in {seconds:.1f} s behind {STUCK} that stay")
    assert expired == COUNT
    left = await pods.all("app=oneseek-sandbox-worker")
    assert [p for p in left if "deletionTimestamp" not in p["metadata"]] == []

    await pods.until(lambda found: len(found) == STUCK, "app=oneseek-sandbox-worker", seconds=120)
    clock.advance(3_600_000)
    _, seconds = await clean_up()
    print(f"all others proved gone in {seconds:.1f} s")
    assert len(await store.doomed(COUNT)) == STUCK
    await provisioner.close()


async def _expired(store, clock, create, count):
    """Make so many sandboxes, and let their leases end."""
    places = asyncio.Semaphore(AT_ONCE)

    async def make(number):
        thread = Thread("default", f"{clock.now_ms()} {number}")
        creation = await store.acquire(thread, attempt="a")
        labels = Labels(thread, creation.generation, 1000, creation.sandbox_id)
        async with places:
            pod = await create(labels)
        made.append((creation, pod))

    made = []
    await asyncio.gather(*(make(number) for number in range(count)))
    for creation, pod in made:
        placed = Placement(pod.uid, pod.name, pod.address, "t" * 32, "k", "boot")
        await store.commit(creation, placed)
    clock.advance(2000)
