"""Pods, Redis and workers die; nothing is handed out twice, and no file is given to the wrong one."""

from __future__ import annotations

import asyncio

import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e

REDIS = "oneseek-sandbox-redis"


async def test_a_killed_pod_is_gone_and_the_next_acquire_starts_anew(acquire, call, client):
    old = await acquire()
    await call("write_file", sandbox_id=old["sandbox_id"], path="/workspace/x", content="old")
    pod = cluster.pod_of(old["sandbox_id"])["metadata"]["name"]
    cluster.kubectl("delete", "pod", pod, "--wait=true", namespace=cluster.SANDBOXES)
    first = await client.post("/v1/sandbox/ls", json={"sandbox_id": old["sandbox_id"]})
    assert first.status_code in (503, 410), first.text
    new = await acquire(old["thread_id"])
    assert new["reused"] is False
    assert new["generation"] > old["generation"]
    late = await client.post("/v1/sandbox/ls", json={"sandbox_id": old["sandbox_id"]})
    assert (late.status_code, late.json()["error"]["code"]) == (410, "sandbox_lost")
    assert (await call("ls", sandbox_id=new["sandbox_id"]))["entries"] == []


async def test_running_sandboxes_are_adopted_when_redis_was_emptied(acquire, call):
    one, other = await acquire(), await acquire()
    for sandbox in (one, other):
        thread = sandbox["thread_id"]
        await call("write_file", thread_id=thread, path="/workspace/mine", content=thread)
    _redis("FLUSHALL")
    again = await acquire(one["thread_id"])
    assert again["reused"] is True
    assert again["generation"] > one["generation"]
    # The other by cleanup's sweep, without an acquire of its own.
    adopted = (await call("cleanup_idle"))["adopted"]
    assert adopted >= 1
    for sandbox in (one, other):
        thread = sandbox["thread_id"]
        read = await call("read_file", thread_id=thread, path="/workspace/mine")
        assert read["content"] == thread


@pytest.mark.finding(6)
async def test_a_release_ends_what_redis_has_forgotten(acquire, call):
    sandbox = await acquire()
    thread = sandbox["thread_id"]
    await call("write_file", thread_id=thread, path="/workspace/mine", content="of before")
    _redis("FLUSHALL")
    assert (await call("release", thread_id=thread))["released"] is True
    assert cluster.sandboxes_of(thread) == []
    again = await acquire(thread)
    assert again["reused"] is False
    assert (await call("ls", thread_id=thread))["entries"] == []


async def test_without_redis_nothing_is_handed_out_and_with_it_all_goes_on(acquire, call, client):
    sandbox = await acquire()
    body = {"thread_id": sandbox["thread_id"]}
    await call("write_file", **body, path="/workspace/mine", content="of before")
    cluster.kubectl("scale", "statefulset", REDIS, "--replicas=0")
    try:
        await cluster.until(
            lambda: not cluster.read("pods", "-l", f"app={REDIS}")["items"],
            seconds=60,
            what="Redis is down",
        )
        for verb in ("acquire", "ls"):
            refused = await client.post(f"/v1/sandbox/{verb}", json=body)
            error = refused.json()["error"]
            assert (refused.status_code, error["code"]) == (503, "store_unavailable")
            assert error["retryable"] is True
            assert int(refused.headers["retry-after"]) >= 1
    finally:
        cluster.kubectl("scale", "statefulset", REDIS, "--replicas=1")
        cluster.kubectl("rollout", "status", f"statefulset/{REDIS}", "--timeout=90s")
    async with asyncio.timeout(60):
        while (await client.post("/v1/sandbox/acquire", json=body)).status_code != 200:
            await asyncio.sleep(0.3)
    again = await acquire(sandbox["thread_id"])
    assert again["reused"] is True
    read = await call("read_file", **body, path="/workspace/mine")
    assert read["content"] == "of before"


def _redis(*command):
    script = 'REDISCLI_AUTH="$(cat /etc/redis-password/password)" exec valkey-cli ' + " ".join(
        command
    )
    cluster.kubectl("exec", f"{REDIS}-0", "--", "sh", "-c", script)
