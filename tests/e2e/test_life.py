"""A thread's sandbox: reused while it is used, gone when it is not, one pod each."""

from __future__ import annotations

import asyncio
import secrets
import time

import pytest
from tests.e2e import cluster
from tests.faults.checker import check
from tests.faults.history import Recorder

pytestmark = pytest.mark.e2e


async def test_a_sandbox_is_reused_after_every_function_pod_was_deleted(acquire, call):
    first = await acquire()
    name = {"sandbox_id": first["sandbox_id"]}
    await call("write_file", **name, path="/workspace/kept", content="here")
    cluster.kubectl("delete", "pods", "-l", "serving.knative.dev/service", "--wait=false")
    await _answers(call, name)
    again = await acquire(first["thread_id"])
    assert (again["reused"], again["sandbox_id"]) == (True, first["sandbox_id"])
    assert (await call("read_file", **name, path="/workspace/kept"))["content"] == "here"


async def _answers(call, name):
    deadline = time.monotonic() + 90
    while True:
        try:
            return await call("ls", **name)
        except Exception:
            if time.monotonic() > deadline:
                raise
            await asyncio.sleep(0.3)


async def test_each_thread_has_a_pod_and_release_removes_it(acquire, call):
    before = len(cluster.pods(cluster.WORKERS))
    made = await asyncio.gather(*(acquire() for _ in range(3)))
    assert len(cluster.pods(cluster.WORKERS)) == before + 3
    for sandbox in made:
        released = await call("release", sandbox_id=sandbox["sandbox_id"])
        assert released == {"released": True, "already_released": False}
    await cluster.until(
        lambda: len(cluster.pods(cluster.WORKERS)) == before, seconds=30, what="the pods are gone"
    )


async def test_the_cronjobs_own_event_ends_an_idle_sandbox(acquire):
    old = await acquire(idle_timeout_seconds=1)
    pod = cluster.pod_of(old["sandbox_id"])["metadata"]["name"]
    # Nobody calls cleanup_idle here: the schedule does, every minute.
    await cluster.until(
        lambda: (
            pod not in cluster.kubectl("get", "pods", "-o", "name", namespace=cluster.SANDBOXES)
        ),
        seconds=150,
        what="the idle sandbox's pod is gone",
    )
    new = await acquire(old["thread_id"])
    assert new["reused"] is False
    assert new["generation"] > old["generation"]


async def test_three_replicas_of_acquire_never_make_a_double(client):
    scale = {
        "autoscaling.knative.dev/min-scale": "3",
        "autoscaling.knative.dev/max-scale": "3",
    }
    threads = [f"race-{secrets.token_hex(4)}" for _ in range(5)]
    recorder = Recorder(lambda: time.monotonic() * 1000, idle_ms=900_000, slack_ms=1_000)
    async with cluster.changed(["acquire"], annotations=scale):
        running = "serving.knative.dev/service=sandbox-acquire"
        await cluster.until(
            lambda: len(cluster.pods(running, cluster.SYSTEM)) >= 3, seconds=90, what="3 replicas"
        )
        try:
            async with asyncio.TaskGroup() as group:
                for thread in threads * 20:
                    group.create_task(_acquired(client, recorder, thread))
            for thread in threads:
                recorder.sandboxes(thread, cluster.sandboxes_of(thread))
        finally:
            for thread in threads:
                await client.post("/v1/sandbox/release", json={"thread_id": thread})
    history = recorder.history()
    assert check(history) == []
    for thread in threads:
        answers = [call.value for call in history.calls if call.thread == thread and call.ok]
        assert len(answers) == 20
        assert len({answer["sandbox_id"] for answer in answers}) == 1
    for seen in history.named("sandboxes"):
        assert len(seen["uids"]) == 1


async def _acquired(client, recorder, thread):
    """Acquire as a backend does: what a busy cluster cannot do now is asked for again."""
    async with asyncio.timeout(120):
        while True:
            number = recorder.call("acquire", thread)
            response = await client.post("/v1/sandbox/acquire", json={"thread_id": thread})
            answer = response.json()
            if response.status_code == 200:
                names = ("sandbox_id", "generation", "reused", "restarted")
                recorder.ok(number, **{name: answer[name] for name in names})
                return
            recorder.error(number, answer["error"]["code"])
            assert answer["error"]["retryable"], answer
            await asyncio.sleep(float(response.headers["retry-after"]))
