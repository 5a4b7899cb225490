"""The contract of the eight verbs on a live server with local sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs import VerbsContract


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = LiveServer(tmp_path_factory.mktemp("home"), PROCESS_LIMIT="200").start()
    yield server
    server.release_all()
    server.stop()


class TestLocalServer(VerbsContract):
    @pytest.fixture
    async def client(self, server):
        async with server.client() as client:
            yield client
