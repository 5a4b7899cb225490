"""The server, and the store, are killed; nothing that was acknowledged is lost."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import time
from pathlib import Path

import pytest
import redis

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.runtimes.local import liveness
from oneseek_sandbox.testing.verbs.calls import Sandbox, call


@pytest.fixture
def server(new_server):
    return new_server(key="key-of-the-crash", settings={"PROVISIONER_SWEEP_INTERVAL_SECONDS": "1"})


@pytest.fixture
def store(server):
    """A connection of our own to the server's embedded store."""
    with redis.Redis.from_url(EmbeddedServer.ensure(server.home)) as connection:
        yield connection


def kill_store(store):
    os.kill(store.info("server")["process_id"], signal.SIGKILL)


async def acquired(client, thread):
    sandbox = Sandbox(client, await call(client, "acquire", thread_id=thread))
    await sandbox.write("/workspace/kept", thread)
    return sandbox


async def test_after_kill_9_of_the_server_the_next_one_finds_everything(server):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        await sandbox.run("sleep 600 & echo $! > pid")
        server.kill()
        server.start()
        again = await call(client, "acquire", thread_id="t")
        assert (again["reused"], again["restarted"]) == (True, False)
        assert again["sandbox_id"] == sandbox.id
        assert (await sandbox.run("cat kept; kill -0 $(cat pid) && echo runs"))["stdout"] == (
            "truns\n"
        )


@pytest.mark.promise(8)
async def test_kill_9_of_the_store_loses_no_acknowledged_lease(server, store):
    async with server.async_client() as client:
        sandboxes = [await acquired(client, f"t{number}") for number in range(4)]
        kill_store(store)
        answers = await asyncio.gather(
            *(call(client, "acquire", thread_id=f"t{number}") for number in range(4))
        )
        assert [answer["reused"] for answer in answers] == [True] * 4
        assert [answer["sandbox_id"] for answer in answers] == [s.id for s in sandboxes]


@pytest.mark.promise(8)
async def test_an_emptied_store_adopts_by_acquire_what_runs(server, store):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        store.flushall()
        again = Sandbox(client, await call(client, "acquire", thread_id="t"))
        assert again.acquired["reused"] is True
        assert again.acquired["restarted"] is False
        assert again.acquired["generation"] > sandbox.acquired["generation"]
        assert (await again.read("/workspace/kept"))["content"] == "t"
        await sandbox.refused("ls", status=404, code="lease_not_found")


@pytest.mark.promise(8)
async def test_an_emptied_store_adopts_by_cleanup_what_runs(server, store):
    async with server.async_client() as client:
        for number in range(3):
            await acquired(client, f"t{number}")
        store.flushall()
        adopted = 0
        async with asyncio.timeout(20):
            while adopted < 3:
                adopted += (await call(client, "cleanup_idle"))["adopted"]
                await asyncio.sleep(0.2)
        listed = (await client.get("/v1/sandbox")).json()["sandboxes"]
        assert sorted(entry["thread_id"] for entry in listed) == ["t0", "t1", "t2"]


@pytest.mark.promise(3, 7)
async def test_a_sandbox_whose_processes_died_is_restarted_with_its_files(server, end_sandboxes):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        end_sandboxes(server)
        response = await client.post(
            "/v1/sandbox/execute", json={"sandbox_id": sandbox.id, "command": "true"}
        )
        assert response.status_code == 503, response.text
        again = await call(client, "acquire", thread_id="t")
        assert (again["sandbox_id"], again["restarted"]) == (sandbox.id, True)
        assert (await sandbox.read("/workspace/kept"))["content"] == "t"
        assert (await call(client, "acquire", thread_id="t"))["sandbox_id"] == sandbox.id


@pytest.mark.finding(14)
async def test_a_sandbox_that_locked_its_workspace_is_restarted_all_the_same(server, end_sandboxes):
    async with server.async_client() as client:
        sandbox = await acquired(client, "locked")
        await sandbox.run("chmod 000 /workspace")
        end_sandboxes(server)
        assert (
            await client.post(
                "/v1/sandbox/execute", json={"sandbox_id": sandbox.id, "command": "true"}
            )
        ).status_code == 503
        again = await call(client, "acquire", thread_id="locked")
        assert (again["sandbox_id"], again["restarted"]) == (sandbox.id, True)
        assert (await sandbox.read("/workspace/kept"))["content"] == "locked"


@pytest.mark.finding(2)
@pytest.mark.parametrize("store_kind", ["auto", "file"])
async def test_a_request_id_does_not_run_again_in_a_restarted_sandbox(
    new_server, end_sandboxes, store_kind
):
    server = new_server(key="key-of-the-crash", settings={"PROVISIONER_STATE_STORE": store_kind})
    command = {"command": "echo ran >> log; cat log", "request_id": "step-1"}
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        assert (await sandbox.call("execute", **command))["stdout"] == "ran\n"
        end_sandboxes(server)
        unsent = {"command": "echo sent > second", "request_id": "step-2"}
        await sandbox.refused("execute", status=503, code="sandbox_unavailable", **unsent)
        assert (await call(client, "acquire", thread_id="t"))["restarted"] is True
        for name in ({"sandbox_id": sandbox.id}, {"thread_id": "t"}):
            response = await client.post("/v1/sandbox/execute", json=name | command)
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (409, "answer_lost")
            assert (error["retryable"], error["may_have_run"]) == (False, True)
        assert (await sandbox.read("/workspace/log"))["content"] == "ran\n"
        assert (await sandbox.call("execute", **unsent))["exit_code"] == 0, "it was never sent"


@pytest.mark.promise(1)
@pytest.mark.finding(7)
async def test_an_acquire_whose_caller_was_cut_off_leaves_the_news_to_the_next(server):
    body = b'{"thread_id": "t"}'
    head = (
        "POST /v1/sandbox/acquire HTTP/1.1\r\nhost: localhost\r\n"
        f"authorization: Bearer {server.key}\r\ncontent-type: application/json\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(head.encode() + body)
    await writer.drain()
    writer.close()
    async with server.async_client() as client:
        async with asyncio.timeout(20):
            while not (await client.get("/v1/sandbox")).json()["sandboxes"]:
                await asyncio.sleep(0.01)
        told = [await call(client, "acquire", thread_id="t") for _ in range(3)]
        # Who asks while the server still finds out that the first caller left is not the one.
        assert [answer["reused"] for answer in told].count(False) == 1


@pytest.mark.promise(6, 8)
@pytest.mark.finding(6)
@pytest.mark.parametrize("by", ["thread_id", "sandbox_id"])
async def test_a_release_after_the_store_was_emptied_ends_the_sandbox(server, store, by):
    async with server.async_client() as client:
        sandbox = await acquired(client, "t")
        store.flushall()
        named = {"thread_id": "t"} if by == "thread_id" else {"sandbox_id": sandbox.id}
        assert (await call(client, "release", **named))["released"]
        assert list(server.home.glob("sandboxes/*")) == []
        again = Sandbox(client, await call(client, "acquire", thread_id="t"))
        assert not again.acquired["reused"]
        await again.refused("read_file", status=404, code="file_not_found", path="/workspace/kept")


def kill_worker(server, sandbox_id):
    """Kill the first process of a sandbox, and wait until it is gone."""
    (record,) = (
        path
        for path in (server.home / "sandboxes").glob("*/object.json")
        if json.loads(path.read_text())["labels"]["sandbox_id"] == sandbox_id
    )
    status = record.with_name("status")
    os.kill(liveness.first_process(status), signal.SIGKILL)
    while liveness.is_alive(status):
        time.sleep(0.01)


async def test_variables_outlive_the_worker_and_the_server(server):
    async with server.async_client() as client:
        sandbox = Sandbox(
            client,
            await call(
                client, "acquire", thread_id="t", env={"TOKEN": "s3cret"}, labels={"a": "b"}
            ),
        )
        server.restart_after_kill()
        assert (await sandbox.run("echo $TOKEN"))["stdout"] == "s3cret\n"
        kill_worker(server, sandbox.id)
        again = await call(client, "acquire", thread_id="t")
        # That it is new may be told again: the server died just after it had told it.
        assert again["restarted"] is True
        assert "env_lost" not in again
        assert (await sandbox.run("echo $TOKEN"))["stdout"] == "s3cret\n"
        listed = (await client.get("/v1/sandbox", params={"label": "a=b"})).json()["sandboxes"]
        assert [entry["sandbox_id"] for entry in listed] == [sandbox.id]


@pytest.mark.parametrize("killed", [False, True])
async def test_an_emptied_store_has_lost_variables_and_says_so(server, store, killed):
    async with server.async_client() as client:
        env = {"TOKEN": "s3cret"}
        given = await call(client, "acquire", thread_id="t", env=env, labels={"a": "b"})
        await Sandbox(client, given).write("/workspace/kept", "t")
        assert any(key.endswith(b"env:" + key[-32:]) for key in store.keys())  # noqa: SIM118
        store.flushall()
        if killed:
            kill_worker(server, given["sandbox_id"])
        for _ in range(2):
            again = await call(client, "acquire", thread_id="t")
            assert (again["reused"], again["env_lost"]) == (True, True)
        listed = (await client.get("/v1/sandbox", params={"label": "a=b"})).json()["sandboxes"]
        assert [entry["sandbox_id"] for entry in listed] == [again["sandbox_id"]]
        again = await call(client, "acquire", thread_id="t", env={"TOKEN": "other"})
        assert "env_lost" not in again
        ran = await Sandbox(client, again).run("echo $TOKEN")
        assert ran["stdout"] == "other\n"
        await call(client, "release", thread_id="t")
        assert not any(b"env:" in key for key in store.keys())  # noqa: SIM118


async def test_nothing_on_the_disk_but_the_store_has_variables(server):
    async with server.async_client() as client:
        await call(client, "acquire", thread_id="t", env={"TOKEN": "s3cret-value"})
        places = [*(server.home / "sandboxes").rglob("*"), server.log]
        texts = [path.read_bytes() for path in places if path.is_file()]
        assert texts
        assert [text for text in texts if b"s3cret-value" in text or b"TOKEN" in text] == []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError):
                assert b"s3cret-value" not in Path(f"/proc/{pid}/environ").read_bytes()
