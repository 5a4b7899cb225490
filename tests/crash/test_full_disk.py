"""The disk of the home is full to its last block; everything works that needs no more of it."""

from __future__ import annotations

import os
import signal
from contextlib import suppress

import pytest
from tests.loop_disk import loop_disk

from oneseek_sandbox.leases.embedded_files import ServerFiles
from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs.calls import Sandbox, call, refused

pytestmark = pytest.mark.finding(12)


@pytest.fixture
def disk():
    disk = loop_disk(200)
    yield disk
    disk.close()


@pytest.fixture(params=["auto", "file"])
def server(request, disk, tmp_path):
    settings = {
        "PROVISIONER_HOME": str(disk.path / "home"),
        "PROVISIONER_STATE_STORE": request.param,
        "PROVISIONER_MIN_FREE_DISK_MB": "48",
        "PROVISIONER_DISK_LIMIT_MB": "24",
    }
    server = LiveServer(tmp_path, key="key-of-the-full-disk", settings=settings)
    server.home = disk.path / "home"
    with server:
        yield server
        (disk.path / "filling").unlink(missing_ok=True)


async def readiness(client):
    answer = await client.get("/readyz")
    return answer.status_code, answer.json()["lacks"]


async def test_on_a_full_disk_everything_works_that_needs_no_room(server, disk):
    async with server.async_client() as client:
        first = Sandbox(client, await call(client, "acquire", thread_id="first"))
        second = Sandbox(client, await call(client, "acquire", thread_id="second"))
        await first.run("head -c 1000000 /dev/zero > mine; echo here > small")
        assert await readiness(client) == (200, [])
        filling = disk.fill()
        for _ in range(50):
            assert (await first.run("cat small"))["stdout"] == "here\n"
        assert (await first.read("/workspace/small"))["content"] == "here\n"
        assert await readiness(client) == (503, ["disk"])
        await refused(client, "acquire", status=429, code="capacity", thread_id="third")
        await call(client, "cleanup_idle")
        assert (await first.run("rm mine"))["exit_code"] == 0
        disk.fill()
        await call(client, "release", thread_id="first")
        assert not list(server.home.glob("ending/*"))
        assert (await second.run("true"))["exit_code"] == 0
        filling.unlink()
        assert await readiness(client) == (200, [])
        await call(client, "acquire", thread_id="third")


async def test_on_a_full_disk_server_and_store_start_again(server, disk):
    async with server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
        await sandbox.write("/workspace/kept", "kept")
        store = ServerFiles(server.home).process_id()
        disk.fill()
        server.kill()
        with suppress(ProcessLookupError):
            if store:
                os.kill(store, signal.SIGKILL)
        server.start()
        assert (await sandbox.read("/workspace/kept"))["content"] == "kept"
        await call(client, "release", thread_id="t")


async def test_a_command_that_fills_its_sandbox_is_stopped_and_told_what_to_do(server):
    async with server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
        fill = "while :; do head -c 500000 /dev/zero >> file; sleep 0.02; done"
        answer = await sandbox.run(fill, timeout_seconds=60)
        assert answer["killed_by"] == "disk_limit"
        assert "Delete files" in answer["hint"]
        await sandbox.refused(
            "write_file", status=409, code="disk_full", path="/workspace/other", content="more"
        )
        await sandbox.run("rm file")
        await sandbox.write("/workspace/other", "more")


async def test_the_reserve_is_taken_back_when_there_is_room(server, disk):
    async with server.async_client() as client:
        await call(client, "acquire", thread_id="t")
        reserve = server.home / "reserve"
        assert reserve.stat().st_blocks * 512 >= 8 * 1024**2
        filling = disk.fill()
        server.kill()
        server.start()
        assert reserve.stat().st_size < 8 * 1024**2
        filling.unlink()
        await call(client, "release", thread_id="t")
        server.restart_after_kill()
        assert reserve.stat().st_size == 8 * 1024**2
