"""The function `replace`."""

from __future__ import annotations


async def test_it_is_guarded(guarded):
    await guarded("replace")


async def test_it_replaces_exact_text(sandbox):
    await sandbox.write("/workspace/f", "one two")
    answer = await sandbox.call("replace", path="/workspace/f", old="two", new="three")
    assert answer["replacements"] == 1
    assert (await sandbox.read("/workspace/f"))["content"] == "one three"
