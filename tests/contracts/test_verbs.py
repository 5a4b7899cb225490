"""The contract of the eight verbs on a live server with local sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.verbs import VerbsContract

SMALL = {"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"}


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key="key-of-the-contract", settings=SMALL)


@pytest.fixture(scope="module")
def server_with_a_file(new_server):
    return new_server(
        key="key-of-the-contract", settings=SMALL | {"PROVISIONER_STATE_STORE": "file"}
    )


class TestLocalServer(VerbsContract):
    @pytest.fixture
    async def client(self, server):
        async with server.async_client() as client:
            yield client


class TestLocalServerWithAFile(VerbsContract):
    @pytest.fixture
    async def client(self, server_with_a_file):
        async with server_with_a_file.async_client() as client:
            yield client
        # It has used no other store.
        assert not (server_with_a_file.home / "redis").exists()
