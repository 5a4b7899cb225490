"""The contract of the eight verbs on a live server with local sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.verbs import VerbsContract


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(
        key="key-of-the-contract",
        settings={"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"},
    )


class TestLocalServer(VerbsContract):
    @pytest.fixture
    async def client(self, server):
        async with server.async_client() as client:
            yield client
