"""Every mode of a backend keeps the contract of the eight verbs."""

from __future__ import annotations

from contextlib import ExitStack

import httpx
import pytest
from tests.client.conftest import KEY, sandboxes_of

from oneseek_sandbox.testing.relay import relayed
from oneseek_sandbox.testing.verbs import VerbsContract


@pytest.fixture(scope="module")
def relay(backend_environment):
    """Serve a kind of backend, once for all tests of a class, and return its URL."""
    with ExitStack() as relays:
        urls = {}

        def relay(kind):
            if kind not in urls:
                sandboxes = sandboxes_of(backend_environment(kind))
                urls[kind] = relays.enter_context(relayed(sandboxes, KEY))
            return urls[kind]

        yield relay


class TestLocalWithAFile(VerbsContract):
    """In this process, leases in a file."""

    kind = "local-file"

    @pytest.fixture
    async def client(self, relay):
        headers = {"authorization": f"Bearer {KEY}"}
        url = relay(self.kind)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            yield client


class TestLocalWithRedis(TestLocalWithAFile):
    """In this process, leases in Redis."""

    kind = "local-redis"
    only_essential = True


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
