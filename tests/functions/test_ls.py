"""The function `ls`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("ls")


async def test_it_lists_what_was_written(sandbox):
    await sandbox.write("/workspace/a/b", "x")
    listed = await sandbox.call("ls", depth=2)
    assert [entry["path"] for entry in listed["entries"]] == ["/workspace/a", "/workspace/a/b"]
