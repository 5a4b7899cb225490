"""The function `write_file`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("write_file")


async def test_it_takes_json_and_bytes(client, sandbox):
    assert (await sandbox.write("/workspace/f", "text"))["created"] is True
    response = await client.post(
        "/v1/sandbox/write_file",
        params={"sandbox_id": sandbox.id, "path": "/workspace/f", "append": "true"},
        headers={"content-type": "application/octet-stream"},
        content=b"\xff",
    )
    assert response.json()["created"] is False
    assert (await sandbox.read("/workspace/f"))["size"] == 5
