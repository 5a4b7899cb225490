"""A thread's sandbox: reused while it is used, gone when it is not, one pod each."""

from __future__ import annotations

import asyncio

from tests.e2e import cluster


async def test_a_sandbox_is_reused_after_every_function_pod_was_deleted(acquire, call_again):
    first = await acquire()
    name = {"sandbox_id": first["sandbox_id"]}
    await call_again("write_file", **name, path="/workspace/kept", content="here")

    selector = ("pods", "-l", "serving.knative.dev/service")
    before = set(cluster.kubectl("get", *selector, "-o", "name").split())
    assert before
    # One second to end in: nobody is left who remembers anything.
    cluster.kubectl("delete", *selector, "--grace-period=1", "--wait=true")
    assert not before & set(cluster.kubectl("get", *selector, "-o", "name").split())

    again = await call_again("acquire", thread_id=first["thread_id"])
    assert (again["reused"], again["sandbox_id"]) == (True, first["sandbox_id"])
    kept = await call_again("read_file", **name, path="/workspace/kept")
    assert kept["content"] == "here"


async def test_each_thread_has_a_pod_and_release_removes_it(acquire, call):
    made = await asyncio.gather(*(acquire() for _ in range(3)))
    pods = {}
    for sandbox in made:
        (pods[sandbox["thread_id"]],) = cluster.pods_of_thread(sandbox["thread_id"])
    assert len(cluster.names(pods.values())) == 3

    for sandbox in made:
        released = await call("release", sandbox_id=sandbox["sandbox_id"])
        assert released == {"released": True, "already_released": False}
    for pod in pods.values():
        await cluster.until(
            lambda pod=pod: cluster.is_gone(pod), seconds=30, what="a released pod is gone"
        )


async def test_the_cronjobs_own_event_ends_an_idle_sandbox(acquire):
    old = await acquire(idle_timeout_seconds=1)
    pod = cluster.pod_of(old["sandbox_id"])
    # Nobody calls cleanup_idle here: the schedule does, every minute.
    await cluster.until(
        lambda: cluster.is_gone(pod), seconds=150, what="the idle sandbox's pod is gone"
    )
    new = await acquire(old["thread_id"])
    assert new["reused"] is False
    assert new["generation"] > old["generation"]
