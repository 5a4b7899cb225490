"""A server for the adapters' tests, and threads on it for code that is not async."""

from __future__ import annotations

import asyncio
import gc
import sys
import uuid
from pathlib import Path

import pytest

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes

# At the end, so that a real package goes before its signatures.
sys.path.append(str(Path(__file__).parent / "signatures"))

KEY = "key-of-the-adapters-tests"


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY)


@pytest.fixture(scope="module")
def sandboxes(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes:
        yield sandboxes


@pytest.fixture(scope="module")
def new_thread(sandboxes):
    """Return a function that gives a thread's sandbox; they are released at the end."""
    threads = []

    def new():
        threads.append(sandboxes.thread(f"adapters-{uuid.uuid4().hex}"))
        return threads[-1]

    yield new
    for thread in threads:
        thread.release()


@pytest.fixture
def loop_of_run_sync():
    """The loop that Pydantic AI takes for agents that are not async, and would leave open."""
    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    yield
    asyncio.set_event_loop(None)
    loop.close()


@pytest.fixture
def collected():
    """Collect what a test leaves to the garbage collector while it runs: later, others are blamed."""
    yield
    gc.collect()
