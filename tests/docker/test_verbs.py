"""The contract of the eight verbs on a live server with containers."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.verbs import VerbsContract

pytestmark = pytest.mark.docker


class TestDockerServer(VerbsContract):
    @pytest.fixture
    async def client(self, server):
        async with server.async_client() as client:
            yield client
