"""A sandbox through what happens to its containers and its server."""

from __future__ import annotations

import pytest

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control.assembly import open_provisioner
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.models.requests import (
    AcquireRequest,
    CleanupIdleRequest,
    ReadFileRequest,
    WriteFileRequest,
)
from oneseek_sandbox.runtimes.docker.container_spec import listener_name

pytestmark = pytest.mark.docker


@pytest.fixture
def sandbox(new_sandbox, request):
    sandbox = new_sandbox(request.node.name)
    sandbox.run("echo kept > file")
    return sandbox


@pytest.fixture
def containers(engine, listener_of, sandbox):
    """Return the sandbox's container and its listener."""
    name = listener_of(sandbox)["sandbox"]
    return name, listener_name(name)


@pytest.mark.parametrize("which", [0, 1], ids=["sandbox", "listener"])
def test_what_was_killed_starts_again_with_its_files(sandbox, containers, engine, which):
    engine.kill(containers[which])
    answer = sandbox.call("execute", sandbox_id=sandbox.sandbox_id, command="true")
    assert (answer.status_code, answer.json()["error"]["retryable"]) == (503, True)
    before = sandbox.sandbox_id
    acquired = sandbox.acquire()
    assert acquired["restarted"]
    assert sandbox.sandbox_id == before
    assert sandbox.run("cat file")["stdout"] == "kept\n"


def test_what_was_removed_is_lost_and_replaced(sandbox, containers, engine):
    engine.remove_container(containers[0])
    before = sandbox.sandbox_id
    assert sandbox.call("execute", sandbox_id=before, command="true").status_code == 503
    acquired = sandbox.acquire()
    assert not acquired["reused"]
    assert sandbox.call("execute", sandbox_id=before, command="true").status_code == 410
    assert sandbox.run("ls")["stdout"] == ""


def test_a_process_that_takes_too_much_memory_is_ended_and_the_sandbox_stays(sandbox):
    answer = sandbox.run("python3 -c 'a = bytearray(600 * 2**20)'")
    assert answer["killed_by"] == "out_of_memory"
    assert sandbox.run("cat file")["stdout"] == "kept\n"


def test_a_sandbox_outlives_its_server(sandbox, server):
    server.restart_after_kill()
    assert sandbox.run("cat file")["stdout"] == "kept\n"
    assert sandbox.acquire()["reused"]


def test_nothing_is_left_after_a_release(sandbox, containers, engine):
    sandbox.release()
    name = f"oneseek-sandbox.name={containers[0]}"
    assert engine.containers(name) == engine.volumes(name) == engine.networks(name) == []


async def test_sandboxes_that_nobody_leased_are_adopted_with_their_files(new_runtime, settings):
    """A store that was emptied: what runs is found by what its containers say."""
    caller = Caller("test")
    one = settings.model_copy(update={"redis_prefix": "before"})
    other = settings.model_copy(update={"redis_prefix": "after"})
    try:
        first = await open_provisioner(one)
        made = await first.acquire(AcquireRequest(thread_id="orphan"), caller)
        kept = WriteFileRequest(thread_id="orphan", path="/workspace/kept", content="of before")
        await first.write_file(kept, caller)
        await first.close()
        second = await open_provisioner(other)
        cleaned = await second.cleanup_idle(CleanupIdleRequest(), caller)
        assert cleaned.adopted == 1
        again = await second.acquire(AcquireRequest(thread_id="orphan"), caller)
        assert again.reused
        assert again.generation > made.generation
        read = ReadFileRequest(thread_id="orphan", path="/workspace/kept")
        assert (await second.read_file(read, caller)).content == "of before"
        await second.close()
    finally:
        runtime = await new_runtime()
        for sandbox in await runtime.list():
            await runtime.stop(sandbox.uid, sandbox.name)
        EmbeddedServer.stop(settings.home)
