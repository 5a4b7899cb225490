"""A thread whose sandbox does not answer: acquired again, and a loss of its files is told first."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.errors import CapacityError, SandboxReplacedError, SandboxUnavailableError
from oneseek_sandbox.models import AcquireAnswer


class Sandboxes:
    """Answers an acquire with the next id, and is silent in the first sandbox."""

    def __init__(self, *ids):
        self.ids = list(ids)
        self.listed = []

    async def acquire(self, thread_id, **_):
        if (name := self.ids.pop(0)) is None:
            raise CapacityError("full")
        now = datetime.now(UTC)
        return AcquireAnswer(
            sandbox_id=name, thread_id=thread_id, scope="default", generation=1, reused=True,
            warm=False, restarted=False, created_at=now, last_used_at=now, expires_at=now,
            workspace="/workspace",
        )  # fmt: skip

    async def ls(self, path, *, sandbox_id):
        self.listed.append(sandbox_id)
        if len(self.listed) == 1:
            raise SandboxUnavailableError("silent", may_have_run=False)
        return "files"


async def test_another_sandbox_in_its_place_is_told_before_anything_is_done_in_it():
    sandboxes = Sandboxes("one", None, "two")
    thread = ThreadSandbox(sandboxes, "t")
    with pytest.raises(SandboxUnavailableError):
        await thread.ls()
    with pytest.raises(CapacityError):
        await thread.ls()
    with pytest.raises(SandboxReplacedError, match="files of before are gone") as told:
        await thread.ls()
    assert (told.value.sandbox_id, told.value.may_have_run) == ("two", False)
    assert await thread.ls() == "files"
    assert sandboxes.listed == ["one", "two"]


async def test_the_same_sandbox_is_gone_on_with():
    sandboxes = Sandboxes("one", "one")
    thread = ThreadSandbox(sandboxes, "t")
    with pytest.raises(SandboxUnavailableError):
        await thread.ls()
    assert await thread.ls() == await thread.ls() == "files"
    assert sandboxes.ids == []
