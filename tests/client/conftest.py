"""Sandboxes by each of a backend's modes."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from oneseek_sandbox.client import BackendSettings, connect
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.relay import relayed

KEY = "key-of-the-clients-tests"
LIMITS = {"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"}
IMAGE = os.environ.get("ONESEEK_E2E_SANDBOX_IMAGE", "python:3.12-slim")
KINDS = [
    "local-file",
    "local-redis",
    "provisioner",
    pytest.param("docker-file", marks=pytest.mark.docker),
    pytest.param("docker-redis", marks=pytest.mark.docker),
]


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY, settings=LIMITS)


@pytest.fixture
async def remote(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        yield sandboxes


@pytest.fixture(scope="module")
def backend_environment(tmp_path_factory, server):
    """Return the environment of a backend in one of its modes, with state of the module's own."""
    home = tmp_path_factory.mktemp("backend-home")
    redis_home = tmp_path_factory.mktemp("backend-redis")

    def environment(kind):
        if kind == "provisioner":
            return {
                "SANDBOX_MODE": "provisioner",
                "SANDBOX_PROVISIONER_URL": server.url,
                "SANDBOX_PROVISIONER_API_KEY": KEY,
            }
        mode, store = kind.split("-")
        address = EmbeddedServer.ensure(redis_home) if store == "redis" else ""
        image = {"PROVISIONER_SANDBOX_IMAGE": IMAGE} if mode == "docker" else {}
        return (
            LIMITS
            | image
            | {
                "SANDBOX_MODE": mode,
                "SANDBOX_STATE_STORE": store,
                "SANDBOX_STATE_REDIS_URL": address,
                "PROVISIONER_HOME": str(home / kind),
            }
        )

    yield environment
    EmbeddedServer.stop(redis_home)


def sandboxes_of(environment):
    """Return the sandboxes of a backend with this environment, not yet open."""
    server = Settings.from_environment(environment)
    return connect(BackendSettings.from_environment(environment), server=server)


@pytest.fixture(scope="module")
def relay(backend_environment):
    """Serve a kind of backend, once for all tests of a module, and return its URL."""
    with ExitStack() as relays:
        urls = {}

        def relay(kind):
            if kind not in urls:
                sandboxes = sandboxes_of(backend_environment(kind))
                urls[kind] = relays.enter_context(relayed(sandboxes, KEY))
            return urls[kind]

        yield relay


@pytest.fixture
async def new_backend(backend_environment):
    """Open sandboxes of a backend; what it has live is released at the end."""
    opened = []

    async def new_backend(kind, **more):
        sandboxes = sandboxes_of(backend_environment(kind) | more)
        await sandboxes.open()
        opened.append(sandboxes)
        return sandboxes

    yield new_backend
    for sandboxes in opened:
        for sandbox in (await sandboxes.list_sandboxes()).sandboxes:
            await sandboxes.release(sandbox_id=sandbox.sandbox_id)
        await sandboxes.close()
