"""Runtimes whose calls block: deletions hold up no creation, and a cancelled creation is undone."""

from __future__ import annotations

import asyncio
import threading

import pytest

from oneseek_sandbox.errors import RuntimeUnavailableError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.runtimes.runtime import Labels, SandboxObject
from oneseek_sandbox.settings import Settings

LABELS = Labels(Thread("default", "t"), generation=7, idle_ms=1000, sandbox_id="a" * 32)


class Slow:
    """Sandboxes whose calls take as long as a test wants."""

    def __init__(self):
        self.begun, self.go_on = threading.Event(), threading.Event()
        self.there, self.stopped = {}, []

    def create(self, labels):
        self.begun.set()
        assert self.go_on.wait(30)
        self.there["uid"] = SandboxObject("uid", "name", "unix:/nowhere", labels)
        return self.there["uid"]

    def stop(self, uid, name, generation):
        self.begun.set()
        assert self.go_on.wait(30)
        self.stopped.append((uid, name, generation))
        return self.there.pop(uid, None) is not None

    def find(self, thread):
        return [sandbox for sandbox in self.there.values() if sandbox.labels.thread == thread]


@pytest.fixture
def slow():
    slow = Slow()
    yield slow
    slow.go_on.set()


@pytest.fixture(params=["docker", "local"])
async def runtime(request, slow, tmp_path):
    settings = Settings.model_validate({"home": tmp_path, "token_key": "k" * 32})
    if request.param == "docker":
        runtime = DockerRuntime(settings)
        runtime._containers = slow
    else:
        runtime = LocalRuntime(settings)
        runtime._opened = slow  # type: ignore[attr-defined]
    yield runtime
    slow.go_on.set()
    await runtime.close()


@pytest.mark.promise(1, 4)
@pytest.mark.finding(3)
async def test_what_a_cancelled_creation_still_makes_is_ended(runtime, slow):
    creating = asyncio.create_task(runtime.create(LABELS))
    assert await asyncio.to_thread(slow.begun.wait, 30)
    creating.cancel()
    await asyncio.gather(creating, return_exceptions=True)
    slow.go_on.set()
    await runtime.close()
    assert slow.stopped == [("uid", "name", LABELS.generation)]
    assert slow.there == {}


@pytest.mark.finding(16)
async def test_deletions_that_take_long_hold_up_no_other_call(runtime, slow):
    stopping = [asyncio.create_task(runtime.stop(f"u{n}", "name")) for n in range(100)]
    assert await asyncio.to_thread(slow.begun.wait, 30)
    async with asyncio.timeout(30):
        assert await runtime.find(LABELS.thread) == []
    slow.go_on.set()
    await asyncio.gather(*stopping)


async def test_a_runtime_that_is_closed_says_so(runtime):
    await runtime.close()
    with pytest.raises(RuntimeUnavailableError, match="closed"):
        await runtime.find(LABELS.thread)
