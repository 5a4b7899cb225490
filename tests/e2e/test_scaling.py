"""Functions come and go; calls do not notice."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e


async def test_the_first_call_after_scale_to_zero_answers(acquire, call):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    quick = {
        "autoscaling.knative.dev/window": "6s",
        "autoscaling.knative.dev/scale-down-delay": "0s",
        "autoscaling.knative.dev/min-scale": "0",
    }
    async with cluster.changed(["ls"], annotations=quick):
        await call("ls", **sandbox)
        await cluster.until(
            lambda: not cluster.pods("serving.knative.dev/service=sandbox-ls", cluster.SYSTEM),
            seconds=120,
            what="ls is scaled to zero",
        )
        assert (await call("ls", **sandbox))["entries"] == []


async def test_a_function_pod_that_is_deleted_does_not_cut_a_command(acquire, call):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    await call("execute", **sandbox, command="true")
    selector = "serving.knative.dev/service=sandbox-execute"
    running = asyncio.create_task(
        call("execute", **sandbox, command="touch begun; sleep 40; echo whole", timeout_seconds=60)
    )
    deadline = time.monotonic() + 20
    while not (await call("ls", **sandbox))["entries"]:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.1)
    cluster.kubectl("delete", "pods", "-l", selector, "--wait=false")
    answer = await running
    assert (answer["stdout"], answer["exit_code"]) == ("whole\n", 0)


async def test_output_arrives_as_it_is_printed(acquire, client):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    command = "for n in 1 2 3; do echo $n; sleep 1; done"
    arrived = []
    headers = {"accept": "text/event-stream"}
    body = {**sandbox, "command": command}
    async with client.stream("POST", "/v1/sandbox/execute", json=body, headers=headers) as response:
        assert response.status_code == 200
        async for line in response.aiter_lines():
            if line.startswith("data:"):
                arrived.append((time.monotonic(), json.loads(line[5:])))  # noqa: PERF401
    texts = [data["text"] for _, data in arrived[:-1]]
    assert texts == ["1\n", "2\n", "3\n"]
    gaps = [later[0] - sooner[0] for sooner, later in itertools.pairwise(arrived)]
    assert min(gaps[:2]) > 0.5, gaps
