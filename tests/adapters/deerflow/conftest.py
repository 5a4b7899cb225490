"""DeerFlow's provider on a server, and a sandbox of it."""

from __future__ import annotations

import pytest
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.deerflow import OneSeekSandboxProvider
from oneseek_sandbox.client.remote import RemoteSandboxes

HOME = "/mnt/user-data/workspace"


@pytest.fixture(scope="module", params=["/workspace", "/mnt/user-data"])
def place(request, new_server):
    """A server whose workspace is our usual one, and one whose is DeerFlow's."""
    return new_server(key=KEY, settings={"PROVISIONER_WORKSPACE_DIR": request.param})


@pytest.fixture(scope="module")
def provider(place):
    provider = OneSeekSandboxProvider(sandboxes=RemoteSandboxes(place.url, KEY))
    yield provider
    provider.shutdown()


@pytest.fixture(scope="module")
def sandbox(provider):
    return provider.get(provider.acquire("deerflow-tests", user_id="alice"))


@pytest.fixture
def folder(sandbox, request):
    path = f"{HOME}/{request.node.originalname}"
    sandbox.execute_command(f"mkdir -p {path}")
    return path
