"""The machine loses its power: the home lies on a disk that forgets what was not written."""

from __future__ import annotations

import hashlib
import os
import signal
from contextlib import suppress

import pytest
from tests.loop_disk import loop_disk

from oneseek_sandbox.leases.embedded_files import ServerFiles
from oneseek_sandbox.runtimes.local.liveness import read_status
from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs.calls import Sandbox, call

pytestmark = pytest.mark.finding(5)


class Machine:
    """A server whose home is on a disk of its own; everything on it dies with the power."""

    def __init__(self, disk, folder, store):
        self.disk = disk
        settings = {
            "PROVISIONER_HOME": str(disk.path / "home"),
            "PROVISIONER_STATE_STORE": store,
            "PROVISIONER_MIN_FREE_DISK_MB": "16",
        }
        self.server = LiveServer(folder, key="key-of-the-power-cut", settings=settings)
        self.server.home = disk.path / "home"

    def cut_power(self):
        """Stop the disk first: what the processes write while they die is lost as well."""
        home = self.server.home
        states = [read_status(path) for path in home.glob("sandboxes/*/status")]
        store = ServerFiles(home).process_id()
        self.disk.cut_power()
        self.server.kill()
        pids = [state.get(name) for state in states for name in ("monitor-pid", "child-pid")]
        for pid in filter(None, [*pids, store]):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@pytest.fixture(params=["auto", "file"])
def machine(request, tmp_path):
    disk = loop_disk(128)
    machine = Machine(disk, tmp_path, request.param)
    try:
        with machine.server:
            yield machine
    finally:
        disk.close()


async def test_what_acquire_answered_is_on_the_disk(machine):
    async with machine.server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
        await sandbox.write("/workspace/kept", "synced by its owner")
        await sandbox.run("sync /workspace/kept /workspace")
        machine.cut_power()
        machine.server.start()
        again = Sandbox(client, await call(client, "acquire", thread_id="t"))
        assert again.acquired["reused"]
        assert (await again.run("cat kept"))["stdout"] == "synced by its owner"


MEBIBYTE = 1 << 20
SYNCED = {
    "new": ("", {"content": "new"}, "new"),
    "over": ("of before", {"content": "new"}, "new"),
    "append": ("of before", {"content": " and new", "append": True}, "of before and new"),
    "append-new": ("", {"content": "new", "append": True}, "new"),
    "create": ("", {"content": "new", "create_only": True}, "new"),
}


@pytest.mark.parametrize("machine", ["auto"], indirect=True)
async def test_what_was_written_with_sync_is_on_the_disk(machine):
    """Each way of writing has a cut of its own: to sync one file can put others on the disk."""
    async with machine.server.async_client() as client:
        for name, (before, fields, after) in SYNCED.items():
            sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
            path = f"/workspace/{name}/below/file"
            if before:
                await sandbox.write(path, before)
                await sandbox.run(f"sync {path} {name}/below {name} .")
            await sandbox.call("write_file", path=path, sync=True, **fields)
            machine.cut_power()
            machine.server.start()
            sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
            assert (await sandbox.read(path))["content"] == after, name


@pytest.mark.parametrize("machine", ["auto"], indirect=True)
async def test_a_stream_that_was_written_with_sync_is_on_the_disk(machine):
    data = os.urandom(20 * MEBIBYTE)
    async with machine.server.async_client() as client:
        for name, query in (("whole", {}), ("append", {"append": "true"})):
            sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
            target = {"sandbox_id": sandbox.id, "path": f"/workspace/{name}/file", "sync": "true"}
            answer = await client.post(
                "/v1/sandbox/write_file",
                params={**target, **query},
                content=data,
                headers={"content-type": "application/octet-stream"},
            )
            assert answer.status_code == 200, answer.text
            machine.cut_power()
            machine.server.start()
            sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
            read = await sandbox.read(f"/workspace/{name}/file", limit=1, encoding="base64")
            assert read["sha256"] == hashlib.sha256(data).hexdigest(), name


async def test_what_was_released_never_comes_back(machine):
    async with machine.server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
        await sandbox.write("/workspace/old", "released")
        await sandbox.run("sync /workspace/old /workspace")
        os.sync()  # the store has the lease, and will not have its release
        await call(client, "release", thread_id="t")
        machine.cut_power()
        machine.server.start()
        again = Sandbox(client, await call(client, "acquire", thread_id="t"))
        assert not again.acquired["reused"]
        assert (await again.run("ls"))["stdout"] == ""


async def test_the_server_starts_whenever_the_power_fails(machine):
    """Cuts fall anywhere between making sandboxes and releasing them."""
    async with machine.server.async_client() as client:
        for number in range(3):
            kept = Sandbox(client, await call(client, "acquire", thread_id=f"kept-{number}"))
            await kept.write("/workspace/kept", "kept", sync=True)
            await call(client, "acquire", thread_id="released")
            await call(client, "release", thread_id="released")
            machine.cut_power()
            machine.server.start()
            listed = await client.get("/v1/sandbox")
            assert listed.json()["damaged"] == []
            kept = Sandbox(client, await call(client, "acquire", thread_id=f"kept-{number}"))
            assert kept.acquired["reused"]
            assert (await kept.read("/workspace/kept"))["content"] == "kept"
