"""The tools over sandboxes behind a server of these tests."""

from __future__ import annotations

import pytest

from oneseek_sandbox.agent_tools import SandboxTools
from oneseek_sandbox.client import BackendSettings, ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes

KEY = "key-of-the-agent-tools"
SMALL = BackendSettings(sandbox_max_output_bytes=2000)


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


@pytest.fixture
def sandbox(sandboxes, thread):
    return ThreadSandbox(sandboxes, thread)


@pytest.fixture
def tools(sandbox):
    return SandboxTools(sandbox, SMALL)
