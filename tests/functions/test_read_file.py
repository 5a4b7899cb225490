"""The function `read_file`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("read_file")


async def test_it_reads_text_and_streams_bytes(client, sandbox):
    await sandbox.write("/workspace/f", "text")
    assert (await sandbox.read("/workspace/f"))["content"] == "text"
    response = await client.post(
        "/v1/sandbox/read_file",
        json={"sandbox_id": sandbox.id, "path": "/workspace/f"},
        headers={"accept": "application/octet-stream"},
    )
    assert response.content == b"text"
