"""Three replicas of acquire over one Redis: a thread never gets two sandboxes."""

from __future__ import annotations

import asyncio
from collections import Counter

from tests.e2e import cluster, functions

THREE = {
    "autoscaling.knative.dev/min-scale": "3",
    "autoscaling.knative.dev/max-scale": "3",
}


async def test_three_replicas_of_acquire_never_make_a_double(call, new_thread):
    threads = [new_thread() for _ in range(5)]
    with functions.changed("acquire", annotations=THREE):
        revision = cluster.read("ksvc", "sandbox-acquire")["status"]["latestReadyRevisionName"]
        selector = f"serving.knative.dev/revision={revision}"
        replicas = await cluster.until(
            lambda: _three_ready(selector), seconds=90, what="3 replicas of acquire are ready"
        )
        answers = await asyncio.gather(
            *(call("acquire", thread_id=thread) for thread in threads * 20)
        )
        assert cluster.names(cluster.pods(selector, cluster.SYSTEM)) == replicas

    made = Counter(answer["thread_id"] for answer in answers if not answer["reused"])
    assert made == dict.fromkeys(threads, 1)
    sandboxes = {(answer["thread_id"], answer["sandbox_id"]) for answer in answers}
    assert len(sandboxes) == 5
    for thread, sandbox_id in sandboxes:
        assert cluster.names(cluster.pods_of_thread(thread)) == cluster.names(
            [cluster.pod_of(sandbox_id)]
        )


def _three_ready(selector):
    found = [pod for pod in cluster.pods(selector, cluster.SYSTEM) if cluster.is_ready(pod)]
    return cluster.names(found) if len(found) == 3 else None
