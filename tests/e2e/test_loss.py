"""Pods and Redis die; nothing is handed out twice, and no file is given to the wrong one."""

from __future__ import annotations

import asyncio

from tests.e2e import cluster

REDIS = "oneseek-sandbox-redis"
REDIS_CLI = 'REDISCLI_AUTH="$(cat /etc/redis-password/password)" exec valkey-cli '


async def test_a_killed_pod_is_gone_and_the_next_acquire_starts_anew(acquire, call, client):
    old = await acquire()
    await call("write_file", sandbox_id=old["sandbox_id"], path="/workspace/x", content="old")
    pod = cluster.pod_of(old["sandbox_id"])
    name = pod["metadata"]["name"]
    cluster.kubectl("delete", "pod", name, "--wait=true", namespace=cluster.SANDBOXES)

    # A data verb never judges a sandbox dead: it says that it does not answer just now.
    first = await client.post("/v1/sandbox/ls", json={"sandbox_id": old["sandbox_id"]})
    assert first.status_code in (503, 410), first.text
    # Whoever may ask the cluster does judge.
    await call("cleanup_idle")
    late = await client.post("/v1/sandbox/ls", json={"sandbox_id": old["sandbox_id"]})
    assert (late.status_code, late.json()["error"]["code"]) == (410, "sandbox_lost")

    new = await acquire(old["thread_id"])
    assert new["reused"] is False
    assert new["generation"] > old["generation"]
    assert new["sandbox_id"] != old["sandbox_id"]
    assert (await call("ls", sandbox_id=new["sandbox_id"]))["entries"] == []
    (only,) = cluster.pods_of_thread(old["thread_id"])
    assert only["metadata"]["uid"] != pod["metadata"]["uid"]
    late = await client.post("/v1/sandbox/ls", json={"sandbox_id": old["sandbox_id"]})
    assert (late.status_code, late.json()["error"]["code"]) == (410, "sandbox_lost")


async def test_running_sandboxes_are_adopted_when_redis_was_emptied(acquire, call, client):
    one, other = await acquire(), await acquire()
    pods = {}
    for sandbox in (one, other):
        thread = sandbox["thread_id"]
        pods[thread] = cluster.pod_of(sandbox["sandbox_id"])["metadata"]["uid"]
        await call("write_file", thread_id=thread, path="/workspace/mine", content=thread)

    cluster.kubectl("exec", f"{REDIS}-0", "--", "sh", "-c", REDIS_CLI + "FLUSHALL")
    again = await acquire(one["thread_id"])
    assert again["reused"] is True
    assert again["generation"] > one["generation"]

    # The other by cleanup alone: without an acquire of its own.
    body = {"thread_id": other["thread_id"]}
    async with asyncio.timeout(60):
        while True:
            await call("cleanup_idle")
            if (await client.post("/v1/sandbox/ls", json=body)).status_code == 200:
                break
            await asyncio.sleep(0.5)
    for thread, uid in pods.items():
        read = await call("read_file", thread_id=thread, path="/workspace/mine")
        assert read["content"] == thread
        assert [pod["metadata"]["uid"] for pod in cluster.pods_of_thread(thread)] == [uid]


async def test_without_redis_nothing_is_handed_out_and_with_it_all_goes_on(
    acquire, call_again, client
):
    sandbox = await acquire()
    body = {"thread_id": sandbox["thread_id"]}
    name = f"statefulset/{REDIS}"
    cluster.kubectl("scale", name, "--replicas=0")
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
        cluster.kubectl("scale", name, "--replicas=1")
        cluster.kubectl("rollout", "status", name, "--timeout=90s")
    # Its file went with its pod: the sandbox is adopted, or found again.
    again = await call_again("acquire", thread_id=sandbox["thread_id"], seconds=60)
    assert again["reused"] is True
    assert len(cluster.pods_of_thread(sandbox["thread_id"])) == 1
