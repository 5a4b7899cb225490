"""Functions come and go; calls do not notice."""

from __future__ import annotations

import asyncio
import itertools
import json
import time

from tests.e2e import cluster, functions

TO_ZERO_SOON = {
    "autoscaling.knative.dev/window": "6s",
    "autoscaling.knative.dev/scale-down-delay": "0s",
    "autoscaling.knative.dev/min-scale": "0",
}


async def test_the_first_call_after_scale_to_zero_answers(acquire, call):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    await call("write_file", **sandbox, path="/workspace/kept", content="here")
    with functions.changed("ls", annotations=TO_ZERO_SOON):
        await call("ls", **sandbox)
        await cluster.until(
            lambda: not functions.pods("ls"), seconds=150, what="ls is scaled to zero"
        )
        entries = (await call("ls", **sandbox))["entries"]
        assert [entry["path"] for entry in entries] == ["/workspace/kept"]
        assert functions.pods("ls")


async def test_a_function_pod_that_is_deleted_does_not_cut_a_command(acquire, call):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    await call("execute", **sandbox, command="true")
    before = functions.pods("execute")
    command = "touch begun; sleep 40; echo whole"
    running = asyncio.create_task(call("execute", **sandbox, command=command, timeout_seconds=60))
    async with asyncio.timeout(30):
        while not (await call("ls", **sandbox))["entries"]:
            await asyncio.sleep(0.1)
    cluster.kubectl("delete", "pods", *cluster.names(before), "--wait=false")
    assert not cluster.names(before) & cluster.names(functions.pods("execute"))
    assert not running.done()
    # Others are served by the next pod meanwhile.
    assert (await call("execute", **sandbox, command="echo next"))["stdout"] == "next\n"
    answer = await running
    assert (answer["stdout"], answer["exit_code"]) == ("whole\n", 0)
    assert answer["duration_ms"] >= 39_000


async def test_output_arrives_as_it_is_printed(acquire, client):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    body = {**sandbox, "command": "for n in 1 2 3; do echo $n; sleep 1; done"}
    headers = {"accept": "text/event-stream"}
    async with client.stream("POST", "/v1/sandbox/execute", json=body, headers=headers) as answer:
        assert answer.status_code == 200
        arrived = [
            (time.monotonic(), json.loads(line.removeprefix("data:")))
            async for line in answer.aiter_lines()
            if line.startswith("data:")
        ]
    assert [data.get("text") for _, data in arrived[:-1]] == ["1\n", "2\n", "3\n"]
    assert arrived[-1][1]["exit_code"] == 0
    gaps = [later[0] - sooner[0] for sooner, later in itertools.pairwise(arrived)]
    assert min(gaps) > 0.5, gaps
