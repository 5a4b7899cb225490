"""The contract of the eight verbs on a live server with local sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.verbs import GivenContract, VerbsContract


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


@pytest.fixture(scope="module")
def server_with_lease_file(new_server):
    return new_server(settings={"PROVISIONER_STATE_STORE": "file"})


class TestLeaseFile(GivenContract):
    """What leases keep of an acquire, where they are in a file."""

    @pytest.fixture
    async def client(self, server_with_lease_file):
        async with server_with_lease_file.async_client() as client:
            yield client
