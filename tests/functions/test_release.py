"""The function `release`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("release")


async def test_it_ends_a_sandbox_for_all_functions(sandbox):
    assert (await sandbox.call("release"))["released"] is True
    await sandbox.refused("execute", status=410, code="sandbox_released", command="true")
    assert (await sandbox.call("release"))["already_released"] is True
