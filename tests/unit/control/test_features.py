"""A sandbox outlives upgrades: nothing is asked of its worker that it did not say it knows."""

from __future__ import annotations

import json

import pytest

from oneseek_sandbox.errors import RequestTooLargeError, SandboxTooOldError, SandboxUnavailableError
from oneseek_sandbox.models import ExecuteRequest
from oneseek_sandbox.testing.scripted_worker import ScriptedWorker, exit_line, http_answer


async def run(world, **fields):
    request = ExecuteRequest(thread_id="t", command="cat", **fields)
    async for event in world.provisioner.execute(request, world.caller):
        answer = event
    return answer


async def claim_again(world, features):
    """Have the worker claimed again by an acquire, as after a restart."""
    world.worker().features = features
    await world.store.suspect(await world.store.get(world.thread))
    world.worker().boot_id = "f" * 32
    await world.workers.close()
    return await world.acquire()


@pytest.mark.parametrize("features", [None, [], ["other"]])
async def test_a_field_that_a_worker_lacks_is_refused_and_never_sent(world, features):
    await world.acquire()
    await claim_again(world, features)
    paths = world.worker().paths
    asked = len(paths)
    with pytest.raises(SandboxTooOldError, match=r"'stdin_path'.*release") as refused:
        await run(world, stdin_path="/workspace/f")
    assert (refused.value.status, refused.value.retryable) == (409, False)
    assert paths[asked:] == []
    assert (await run(world)).exit_code == 0
    assert (await world.store.get(world.thread)).suspect is False


async def test_a_lease_keeps_what_the_worker_said_at_its_last_claim(world):
    await world.acquire()
    seen = []

    async def execute(call):
        seen.append(call.body.get("stdin_path"))
        await call.send(http_answer(exit_line()))

    world.worker().scripts["/execute"] = execute
    await claim_again(world, ["stdin_path", "something_later"])
    assert (await world.store.get(world.thread)).placement.features == (
        "stdin_path",
        "something_later",
    )
    await run(world, stdin_path="/workspace/f")
    assert seen == ["/workspace/f"]


def proof(**changes):
    async def prove(call):
        said = {"protocol": 2, "claimed": True, "restarted": False, "boot_id": "0" * 32}
        await call.send(http_answer(json.dumps({**said, **changes}).encode()))

    return prove


@pytest.mark.parametrize(
    "changes", [{"restarted": True}, {"protocol": "1"}, {"protocol": None}], ids=str
)
async def test_an_unknown_protocol_is_no_verdict(world, changes):
    """Whatever else such a worker says: the sandbox is neither lost nor started again for it."""
    first = await world.acquire()
    await world.workers.close()
    world.worker().scripts["/proof"] = proof(**changes)
    with pytest.raises(SandboxUnavailableError, match="protocol"):
        await run(world)
    with pytest.raises(SandboxUnavailableError):
        await world.acquire()
    assert (await world.cleanup().run()).lost == 0
    assert await world.store.doomed(10) == []
    del world.worker().scripts["/proof"]
    again = await world.acquire()
    assert (again.sandbox_id, again.restarted) == (first.sandbox_id, False)


async def test_an_unknown_protocol_is_sent_no_token(world):
    async with ScriptedWorker({"/proof": proof(claimed=False)}) as worker:
        with pytest.raises(SandboxUnavailableError, match="protocol"):
            await world.workers.claim(
                worker.address, token="t" * 32, generation=1, idle_ms=1000, uid="u"
            )
        assert worker.paths == ["/proof"]


async def test_input_that_is_too_large_for_a_worker_is_no_fault_of_the_sandbox(world):
    await world.acquire()

    async def too_large(call):
        await call.answer({"error": {"code": "request_too_large", "message": "20 MiB"}}, 413)

    world.worker().scripts["/execute"] = too_large
    with pytest.raises(RequestTooLargeError, match="20 MiB"):
        await run(world, stdin="x")
    lease = await world.store.get(world.thread)
    assert (lease.suspect, lease.pins) == (False, 0)
