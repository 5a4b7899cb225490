"""Limits that settings set, as a caller meets them."""

from __future__ import annotations

import asyncio

from oneseek_sandbox.testing.verbs.calls import Sandbox, call


async def test_one_command_too_many_is_told_to_come_again(new_server):
    server = new_server(key="key-of-the-limits", settings={"PROVISIONER_MAX_COMMANDS": "1"})
    async with server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="busy"))
        running = asyncio.create_task(
            sandbox.run("touch up; until [ -e go ]; do sleep 0.01; done; echo done")
        )
        async with asyncio.timeout(60):
            while not (await sandbox.call("ls"))["entries"]:
                await asyncio.sleep(0.02)
        refused = await client.post(
            "/v1/sandbox/execute", json={"sandbox_id": sandbox.id, "command": "true"}
        )
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_commands")
        assert int(refused.headers["retry-after"]) >= 1
        await sandbox.write("/workspace/go", "")
        assert (await running)["stdout"] == "done\n"


async def test_one_sandbox_too_many_is_told_to_come_again(new_server):
    server = new_server(key="key-of-the-limits", settings={"PROVISIONER_MAX_SANDBOXES": "1"})
    async with server.async_client() as client:
        await call(client, "acquire", thread_id="first")
        refused = await client.post("/v1/sandbox/acquire", json={"thread_id": "second"})
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "capacity")
        assert int(refused.headers["retry-after"]) >= 1
        await call(client, "release", thread_id="first")
        assert (await call(client, "acquire", thread_id="second"))["reused"] is False


async def test_a_sandbox_is_not_made_on_a_full_disk(new_server):
    settings = {"PROVISIONER_MIN_FREE_DISK_MB": "1000000000"}
    server = new_server(key="key-of-the-limits", settings=settings)
    async with server.async_client() as client:
        refused = await client.post("/v1/sandbox/acquire", json={"thread_id": "t"})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (429, "capacity")
        assert "PROVISIONER_MIN_FREE_DISK_MB" in error["message"] or "disk" in error["message"]
        assert (await client.get("/v1/sandbox")).json()["sandboxes"] == []
