"""Sandboxes behind a server, as the adapters' tests use them."""

from __future__ import annotations

import pytest

from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes

KEY = "key-of-the-adapters"


@pytest.fixture(scope="session")
def server(new_server):
    return new_server(key=KEY)


@pytest.fixture
async def sandboxes(server):
    async with RemoteSandboxes(server.url, KEY) as opened:
        yield opened


@pytest.fixture
async def thread(sandboxes, request):
    """The name of a thread of the test's own; its sandbox is released at the end."""
    name = request.node.name[:200]
    yield name
    await ThreadSandbox(sandboxes, name).release()
