"""The warm pool: a plain Deployment that only cleanup_idle applies."""

from __future__ import annotations

import asyncio
import base64
import json

import httpx
import pytest
from tests.e2e import cluster, functions

WARM = "app=oneseek-sandbox-warm"
POOL = "deployment/oneseek-sb-warm"
CONTROL = ("acquire", "cleanup_idle")
OPEN = {"PROVISIONER_ALLOW_OPEN_NETWORK": "true", "PROVISIONER_WARM_POOL_SIZE": "2"}
OTHER_LIMIT = {"PROVISIONER_POD_MEMORY_LIMIT": "300Mi"}

# As an out-of-memory kill of the first process would; nothing inside can end that one.
RESTART_WHEN_ASKED = {
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


@pytest.fixture(scope="module")
def upkeep(route, key):
    """Run cleanup_idle once, as the CronJob does every minute."""

    def upkeep():
        headers = {**route.headers, "authorization": f"Bearer {key}"}
        url = f"{route.url}/v1/sandbox/cleanup_idle"
        response = httpx.post(url, headers=headers, timeout=120)
        assert response.status_code == 200, response.text

    return upkeep


@pytest.fixture(scope="module")
def pool_settings(upkeep):
    """Ask for a pool of two, whatever is known of the network."""
    with functions.changed(*CONTROL, env=OPEN):
        yield
    upkeep()


@pytest.fixture
def pool(pool_settings, upkeep):
    """A pool of two ready pods."""
    upkeep()
    cluster.kubectl("scale", POOL, "--replicas=2", namespace=cluster.SANDBOXES)
    _wait_for_ready(2)


def _ready():
    return cluster.names(pod for pod in cluster.pods(WARM) if cluster.is_ready(pod))


def _wait_for_ready(count, seconds=90):
    cluster.wait(
        lambda: len(_ready()) == count == len(cluster.pods(WARM)),
        seconds=seconds,
        what=f"{count} pods wait in the pool",
    )


def _deployment():
    return cluster.read(POOL, namespace=cluster.SANDBOXES)


def _memory_limit(sandbox):
    container = cluster.pod_of(sandbox["sandbox_id"])["spec"]["containers"][0]
    return container["resources"]["limits"]["memory"]


async def test_a_pod_is_taken_warm_and_the_pool_is_full_again(pool, acquire):
    waiting = _ready()
    sandbox = await acquire()
    assert sandbox["warm"] is True
    taken = cluster.pod_of(sandbox["sandbox_id"])
    assert taken["metadata"]["name"] in waiting
    assert "ownerReferences" not in taken["metadata"]
    await asyncio.to_thread(_wait_for_ready, 2)
    assert taken["metadata"]["name"] not in _ready()


async def test_more_acquires_than_pods_take_each_pod_once(pool, acquire):
    sandboxes = await asyncio.gather(*(acquire() for _ in range(4)))
    pods = [cluster.pod_of(sandbox["sandbox_id"]) for sandbox in sandboxes]
    assert len(cluster.names(pods)) == 4
    assert len([sandbox for sandbox in sandboxes if sandbox["warm"]]) >= 2


async def test_kubectl_scale_is_respected(pool, upkeep):
    cluster.kubectl("scale", POOL, "--replicas=1", namespace=cluster.SANDBOXES)
    upkeep()
    await asyncio.to_thread(_wait_for_ready, 1)
    upkeep()
    assert _deployment()["spec"]["replicas"] == 1


async def test_a_changed_limit_rolls_the_pool(pool, acquire, upkeep):
    before = _ready()
    with functions.changed(*CONTROL, env=OTHER_LIMIT):
        upkeep()
        await cluster.until(
            lambda: len(_ready()) == 2 and not before & cluster.names(cluster.pods(WARM)),
            seconds=120,
            what="the pool's pods are all of the new template",
        )
        sandbox = await acquire()
        assert sandbox["warm"] is True
        assert _memory_limit(sandbox) == "300Mi"


async def test_two_revisions_of_acquire_do_not_fight(pool, acquire, call):
    before = _deployment()["metadata"]["generation"]
    limits = {}
    with functions.two_revisions("acquire", OTHER_LIMIT):
        async with asyncio.timeout(60):
            while set(limits.values()) != {True, False}:
                sandbox = await acquire()
                other = _memory_limit(sandbox) == "300Mi"
                # The pool is of the first one's template: the second never takes from it.
                assert not (other and sandbox["warm"])
                limits[sandbox["sandbox_id"]] = other
                # Whichever answers, the thread has one sandbox.
                again = await asyncio.gather(*(acquire(sandbox["thread_id"]) for _ in range(4)))
                assert {answer["sandbox_id"] for answer in again} == {sandbox["sandbox_id"]}
                await call("release", sandbox_id=sandbox["sandbox_id"])
        assert _deployment()["metadata"]["generation"] == before


async def test_taken_pods_outlive_the_pool(pool, acquire, call, upkeep):
    sandbox = await acquire()
    assert sandbox["warm"] is True
    cluster.kubectl("delete", POOL, namespace=cluster.SANDBOXES)
    await cluster.until(lambda: not cluster.pods(WARM), seconds=60, what="the pool is gone")
    ran = await call("execute", sandbox_id=sandbox["sandbox_id"], command="echo alive")
    assert ran["stdout"] == "alive\n"
    # The next upkeep makes it again.
    upkeep()
    await asyncio.to_thread(_wait_for_ready, 2)


@pytest.fixture
def restarting_pool(pool_settings, upkeep):
    """A pool of pods whose worker is started again in place when a file asks for it."""
    # Beside the keys, which every function mounts.
    _put_beside_the_keys("pod-patch.json", json.dumps(RESTART_WHEN_ASKED))
    try:
        patch = {"PROVISIONER_POD_PATCH_FILE": "/etc/oneseek-sandbox/keys/pod-patch.json"}
        with functions.changed(*CONTROL, env=patch):
            upkeep()
            cluster.wait(
                lambda: [
                    pod
                    for pod in cluster.pods(WARM)
                    if cluster.is_ready(pod) and "livenessProbe" in pod["spec"]["containers"][0]
                ],
                seconds=90,
                what="a pod with the probe waits in the pool",
            )
            yield
    finally:
        _put_beside_the_keys("pod-patch.json", None)


def _put_beside_the_keys(name, content):
    encoded = None if content is None else base64.b64encode(content.encode()).decode()
    body = json.dumps({"data": {name: encoded}})
    cluster.kubectl("patch", "secret", "oneseek-sandbox-keys", "--type=merge", "-p", body)


async def test_a_worker_restarted_in_place_is_refused_and_not_claimed_again(
    restarting_pool, acquire, call, client
):
    old = await acquire()
    assert old["warm"] is True
    name = {"sandbox_id": old["sandbox_id"]}
    pod = cluster.pod_of(old["sandbox_id"])
    await call("write_file", **name, path="/workspace/restart-me", content="")

    def restarted():
        found = cluster.read("pod", pod["metadata"]["name"], namespace=cluster.SANDBOXES)
        assert found["metadata"]["uid"] == pod["metadata"]["uid"]
        return found["status"]["containerStatuses"][0]["restartCount"] > 0

    await cluster.until(restarted, seconds=60, what="the worker was started again in place")
    async with asyncio.timeout(30):
        while (refused := await client.post("/v1/sandbox/ls", json=name)).status_code == 503:
            await asyncio.sleep(0.3)  # not listening yet
    assert (refused.status_code, refused.json()["error"]["code"]) == (410, "sandbox_lost")

    new = await acquire(old["thread_id"])
    assert new["reused"] is False
    assert new["generation"] > old["generation"]
    assert (await call("ls", sandbox_id=new["sandbox_id"]))["entries"] == []
    await cluster.until(lambda: cluster.is_gone(pod), seconds=30, what="the old pod is gone")
