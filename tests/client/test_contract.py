"""Every mode of a backend keeps the contract of the eight verbs."""

from __future__ import annotations

import pytest
from tests.client.conftest import KEY, sandboxes_of

from oneseek_sandbox.testing.relay import relayed
from oneseek_sandbox.testing.verbs import VerbsContract


class TestLocalWithAFile(VerbsContract):
    """In this process, leases in a file."""

    kind = "local-file"

    @pytest.fixture
    async def client(self, backend_environment):
        async with relayed(sandboxes_of(backend_environment(self.kind)), KEY) as client:
            yield client


class TestLocalWithRedis(TestLocalWithAFile):
    """In this process, leases in Redis."""

    kind = "local-redis"


class TestProvisioner(TestLocalWithAFile):
    """HTTP to a server."""

    kind = "provisioner"


@pytest.mark.docker
class TestDockerWithAFile(TestLocalWithAFile):
    """Containers of an engine, leases in a file."""

    kind = "docker-file"


@pytest.mark.docker
class TestDockerWithRedis(TestLocalWithAFile):
    """Containers of an engine, leases in Redis."""

    kind = "docker-redis"
    only_essential = True
