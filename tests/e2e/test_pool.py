"""The warm pool: a plain Deployment that only cleanup_idle applies."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e

WARM = "app=oneseek-sandbox-warm"
POOL = "deployment/oneseek-sb-warm"
OPEN = {"PROVISIONER_ALLOW_OPEN_NETWORK": "true", "PROVISIONER_WARM_POOL_SIZE": "2"}
CONTROL = ["acquire", "cleanup_idle"]
HALF_TO_THE_NEWEST = {"latestRevision": True, "percent": 50}


def _ready(count):
    def ready():
        running = [
            pod
            for pod in cluster.pods(WARM)
            if all(c.get("ready") for c in pod["status"].get("containerStatuses", [{}]))
        ]
        return len(running) == count

    return ready


async def _acquire_warm(acquire):
    """Acquire until it is a warm one: an ingress asks an old revision for a moment yet."""
    async with asyncio.timeout(60):
        while not (sandbox := await acquire())["warm"]:
            await asyncio.sleep(0.2)
    return sandbox


async def _acquire_by_the_newest(acquire):
    """Acquire until the newest revision has answered; every call is in the log of who did."""
    newest = cluster.read("ksvc", "sandbox-acquire")["status"]["latestReadyRevisionName"]

    def told():
        selector = ["-l", "serving.knative.dev/service=sandbox-acquire", "-c", "function"]
        log = cluster.kubectl("logs", *selector, "--prefix", "--tail=-1")
        return [line for line in log.splitlines() if sandbox["sandbox_id"] in line]

    async with asyncio.timeout(90):
        while True:
            sandbox = await acquire()
            lines = await cluster.until(told, seconds=60, what="the log of an acquire")
            if any(newest in line.partition(" ")[0] for line in lines):
                return sandbox


async def test_the_pools_life(acquire, call):
    async with cluster.changed(CONTROL, env=OPEN):
        await call("cleanup_idle")
        await cluster.until(_ready(2), seconds=60, what="the pool is full")

        warm = await acquire()
        assert warm["warm"] is True
        taken = cluster.pod_of(warm["sandbox_id"])
        assert "ownerReferences" not in taken["metadata"]
        await cluster.until(_ready(2), seconds=60, what="the pool is full again")

        cluster.kubectl("scale", POOL, "--replicas=1", namespace=cluster.SANDBOXES)
        await call("cleanup_idle")
        await cluster.until(_ready(1), seconds=60, what="kubectl scale is respected")
        await call("cleanup_idle")
        assert _ready(1)()

        before = {pod["metadata"]["name"] for pod in cluster.pods(WARM)}
        async with cluster.changed(CONTROL, env={"PROVISIONER_POD_MEMORY_LIMIT": "300Mi"}):
            await call("cleanup_idle")
            await cluster.until(
                lambda: (
                    _ready(1)() and not before & {p["metadata"]["name"] for p in cluster.pods(WARM)}
                ),
                seconds=90,
                what="a changed limit rolls the pool",
            )
            rolled = await _acquire_warm(acquire)
            limits = cluster.pod_of(rolled["sandbox_id"])["spec"]["containers"][0]["resources"]
            assert limits["limits"]["memory"] == "300Mi"

        # acquire is back at the template of before, and takes no pod of the other one, whether or
        # not the CronJob has rolled the pool back meanwhile.
        back = await _acquire_by_the_newest(acquire)
        limits = cluster.pod_of(back["sandbox_id"])["spec"]["containers"][0]["resources"]
        assert limits == taken["spec"]["containers"][0]["resources"]

        cluster.kubectl("delete", POOL, namespace=cluster.SANDBOXES)
        await cluster.until(lambda: not cluster.pods(WARM), seconds=60, what="the pool is gone")
        ran = await asyncio.gather(
            *(
                call("execute", sandbox_id=sandbox["sandbox_id"], command="echo alive")
                for sandbox in (warm, rolled, back)
            )
        )
        assert [answer["stdout"] for answer in ran] == ["alive\n"] * 3
    await call("cleanup_idle")


async def test_two_revisions_of_acquire_at_once_leave_the_pool_alone(acquire, call):
    await call("cleanup_idle")
    before = cluster.read(POOL, namespace=cluster.SANDBOXES)["metadata"]["generation"]
    old = cluster.read("ksvc", "sandbox-acquire")["status"]["latestReadyRevisionName"]
    async with (
        cluster.traffic("acquire", [{"revisionName": old, "percent": 50}, HALF_TO_THE_NEWEST]),
        cluster.changed(["acquire"], env={"PROVISIONER_POD_MEMORY_LIMIT": "300Mi"}),
    ):
        limits = set()
        async with asyncio.timeout(90):
            while len(limits) < 2:
                sandbox = await acquire()
                (container,) = cluster.pod_of(sandbox["sandbox_id"])["spec"]["containers"]
                limits.add(container["resources"]["limits"]["memory"])
        assert "300Mi" in limits
    pool = cluster.read(POOL, namespace=cluster.SANDBOXES)["metadata"]
    assert pool["generation"] == before
