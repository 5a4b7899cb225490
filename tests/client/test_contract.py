"""Every mode of a backend keeps the contract of the eight verbs."""

from __future__ import annotations

import pytest
from tests.client.conftest import KEY

from oneseek_sandbox.testing.relay import relayed
from oneseek_sandbox.testing.verbs import VerbsContract


class TestProvisioner(VerbsContract):
    """HTTP to a server."""

    @pytest.fixture
    async def client(self, remote):
        async with relayed(remote, KEY) as client:
            yield client
