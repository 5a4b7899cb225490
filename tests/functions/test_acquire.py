"""The function `acquire`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("acquire")


async def test_it_gives_a_sandbox_that_the_other_functions_know(sandbox):
    assert sandbox.acquired["reused"] is False
    assert (await sandbox.run("echo hello"))["stdout"] == "hello\n"


async def test_a_get_lists_live_sandboxes(client, sandbox):
    listed = (await client.get("/v1/sandbox")).json()["sandboxes"]
    assert sandbox.id in {entry["sandbox_id"] for entry in listed}
