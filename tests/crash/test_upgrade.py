"""A new server takes over the home, the store and the running sandboxes of an earlier one."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal

import pytest
import redis

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.keys import KeyNames, thread_tag
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.local.liveness import first_process
from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs.calls import Sandbox, call, refused

KEY = "key-of-the-upgrade"


@pytest.fixture(params=["redis", "file"])
def server(request, earlier, tmp_path):
    """A server of the earlier commit; `upgrade` puts the present one in its place."""
    settings = {"PROVISIONER_SWEEP_INTERVAL_SECONDS": "1", **earlier}
    if request.param == "file":
        settings["PROVISIONER_STATE_STORE"] = "file"
    with LiveServer(tmp_path, key=KEY, settings=settings) as running:
        yield running


def upgrade(server):
    server.kill()
    del server.environment["PYTHONPATH"]
    server.start()


def kill_first_processes(server):
    for status in server.home.glob("sandboxes/*/status"):
        os.kill(first_process(status), signal.SIGKILL)


async def acquired(client, thread):
    return Sandbox(client, await call(client, "acquire", thread_id=thread))


async def test_running_sandboxes_of_an_earlier_server_are_taken_over(server):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "of before")
        await sandbox.run("sleep 600 & echo $! > pid")
        before = await sandbox.run("echo once >> ran; echo did", request_id="once")
        upgrade(server)
        # By the id alone, before anybody acquires.
        assert (await sandbox.read("/workspace/kept"))["content"] == "of before"
        repeated = await sandbox.run("echo once >> ran; echo did", request_id="once")
        assert before.items() <= repeated.items(), "a later server says more, never something else"
        assert (await sandbox.read("/workspace/ran"))["content"] == "once\n"
        again = await call(client, "acquire", thread_id="t")
        assert (again["sandbox_id"], again["generation"]) == (
            sandbox.id,
            sandbox.acquired["generation"],
        )
        assert (again["reused"], again["restarted"]) == (True, False)
        assert (await sandbox.run("kill -0 $(cat pid) && echo runs"))["stdout"] == "runs\n"
        await sandbox.write("/workspace/new", "of now")
        assert (await sandbox.run("cat kept new"))["stdout"] == "of beforeof now"
        released = await call(client, "release", thread_id="t")
        assert released["released"] is True
        assert list(server.home.glob("sandboxes/*")) == []
        assert (await call(client, "acquire", thread_id="t"))["reused"] is False


@pytest.mark.finding(5)
async def test_a_running_sandbox_of_an_earlier_server_says_that_it_cannot_sync(server):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "of before")
        upgrade(server)
        synced = {"path": "/workspace/kept", "content": "of now", "sync": True}
        told = await sandbox.refused("write_file", status=409, code="sandbox_too_old", **synced)
        assert "does not know 'sync'" in told
        assert (await sandbox.read("/workspace/kept"))["content"] == "of before"
        await sandbox.write("/workspace/kept", "of now")
        assert (await sandbox.read("/workspace/kept"))["content"] == "of now"


async def test_a_sandbox_that_stopped_over_the_upgrade_is_restarted_with_its_files(server):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "of before")
        server.kill()
        kill_first_processes(server)
        upgrade(server)
        again = await acquired(client, "t")
        assert (again.id, again.acquired["restarted"]) == (sandbox.id, True)
        assert (await again.read("/workspace/kept"))["content"] == "of before"
        assert (await call(client, "acquire", thread_id="t"))["restarted"] is False


async def test_a_sandbox_of_before_that_dies_after_the_upgrade_is_restarted(server):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "of before")
        upgrade(server)
        assert (await call(client, "acquire", thread_id="t"))["restarted"] is False
        kill_first_processes(server)
        again = await acquired(client, "t")
        assert (again.id, again.acquired["restarted"]) == (sandbox.id, True)
        assert (await again.read("/workspace/kept"))["content"] == "of before"


async def acquired_in_the_end(client):
    """Acquire as callers do: what is retryable is tried again, until the kernel has let go."""
    async with asyncio.timeout(60):
        while True:
            response = await client.post("/v1/sandbox/acquire", json={"thread_id": "t"})
            if response.status_code != 503:
                assert response.status_code == 200, response.text
                return response.json()
            assert response.json()["error"]["retryable"]
            await asyncio.sleep(0.05)


async def test_an_earlier_and_a_present_server_share_one_store(earlier, tmp_path):
    (tmp_path / "earlier").mkdir()
    (tmp_path / "present").mkdir()
    with LiveServer(tmp_path / "earlier", key=KEY, settings=earlier) as old:
        shared = {"PROVISIONER_HOME": str(old.home)}
        with LiveServer(tmp_path / "present", key=KEY, settings=shared) as new:
            async with old.async_client() as at_old, new.async_client() as at_new:
                both = (at_old, at_new)
                answers = await asyncio.gather(
                    *(call(both[n % 2], "acquire", thread_id="t") for n in range(6))
                )
                assert len({answer["sandbox_id"] for answer in answers}) == 1
                assert [answer["reused"] for answer in answers].count(False) == 1
                for number, (writer, reader) in enumerate([both, both[::-1]]):
                    path, content = f"/workspace/{number}", f"by {number}"
                    await call(writer, "write_file", thread_id="t", path=path, content=content)
                    read = await call(reader, "read_file", thread_id="t", path=path)
                    assert read["content"] == content
                for killer, user in (both, both[::-1]):
                    kill_first_processes(old)
                    restarted = await acquired_in_the_end(killer)
                    assert (restarted["reused"], restarted["restarted"]) == (True, True)
                    ran = await call(user, "execute", thread_id="t", command="cat 0 1")
                    assert ran["stdout"] == "by 0by 1"
                for releaser, other in (both, both[::-1]):
                    sandbox = Sandbox(other, await call(other, "acquire", thread_id="t"))
                    await call(releaser, "release", thread_id="t")
                    await sandbox.refused("ls", status=410, code="sandbox_released")
        # The store and the sandboxes are the earlier server's to end.


REFUSED = (
    ("acquire", {}),
    ("execute", {"command": "true"}),
    ("ls", {}),
    ("read_file", {"path": "/workspace/kept"}),
    ("write_file", {"path": "/workspace/kept", "content": "no"}),
    ("replace", {"path": "/workspace/kept", "old": "a", "new": "b"}),
)


async def is_refused_and_kept(client, sandbox):
    for verb, fields in REFUSED:
        await refused(client, verb, status=503, code="store_unavailable", thread_id="t", **fields)
    await refused(client, "ls", status=503, code="store_unavailable", sandbox_id=sandbox.id)


async def test_a_lease_in_a_state_of_a_later_version_is_never_granted(new_server):
    server = new_server(key=KEY, settings={"PROVISIONER_SWEEP_INTERVAL_SECONDS": "1"})
    lease = KeyNames("oneseek").lease(thread_tag(Thread("default", "t")))
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "kept")
        other = await acquired(client, "other")
        with redis.Redis.from_url(EmbeddedServer.ensure(server.home)) as store:
            store.hset(lease, "state", "hibernating")
            await is_refused_and_kept(client, sandbox)
            # Nobody else is held up by it, and it is not ended either.
            await other.write("/workspace/file", "x")
            assert store.hget(lease, "state") == b"hibernating"
            store.hset(lease, "state", "ready")
        assert (await call(client, "acquire", thread_id="t"))["sandbox_id"] == sandbox.id
        assert (await sandbox.read("/workspace/kept"))["content"] == "kept"


async def test_a_lease_file_of_a_later_version_is_refused_and_left_as_it_is(new_server):
    server = new_server(key=KEY, settings={"PROVISIONER_STATE_STORE": "file"})
    book = server.home / "leases" / "book"
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.write("/workspace/kept", "kept")
        whole = book.read_bytes()
        head, _, body = whole.partition(b"\n")
        body = body.replace(b'"ready"', b'"hibernating"')
        assert b"hibernating" in body
        digest = hashlib.sha256(body).hexdigest().encode()
        later = b" ".join([*head.split(b" ")[:-1], digest]) + b"\n" + body
        book.write_bytes(later)
        await is_refused_and_kept(client, sandbox)
        assert book.read_bytes() == later
        book.write_bytes(whole)
        assert (await call(client, "acquire", thread_id="t"))["sandbox_id"] == sandbox.id
        assert (await sandbox.read("/workspace/kept"))["content"] == "kept"
