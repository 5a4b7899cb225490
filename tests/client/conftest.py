"""Sandboxes by each of a backend's modes, and ways to wait for things in them."""

from __future__ import annotations

import pytest

from oneseek_sandbox.client.remote import RemoteSandboxes

KEY = "key-of-the-clients-tests"


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(
        key=KEY,
        settings={"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"},
    )


@pytest.fixture
async def remote(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        yield sandboxes
