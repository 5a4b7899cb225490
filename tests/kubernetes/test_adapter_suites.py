"""The suites that others publish, on pods that a server of this module makes."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from tests.adapters.inspect_ai_suite import InspectSuite
from tests.adapters.pydantic_ai_suite import PydanticAISuite
from tests.kubernetes.conftest import IMAGE, make_namespace

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def namespace_of_all():
    name = f"oneseek-test-{secrets.token_hex(4)}"

    async def by_api(work):
        api = KubernetesApi()
        try:
            await work(api)
        finally:
            await api.close()

    asyncio.run(by_api(lambda api: make_namespace(api, name)))
    yield name
    asyncio.run(by_api(lambda api: api.delete(f"/api/v1/namespaces/{name}")))


@pytest.fixture(scope="module")
def server(new_server, namespace_of_all):
    return new_server(
        key="key-of-the-suites",
        settings={
            "PROVISIONER_RUNTIME": "kubernetes",
            "PROVISIONER_NAMESPACE": namespace_of_all,
            "PROVISIONER_SANDBOX_IMAGE": IMAGE,
            "PROVISIONER_ALLOW_OPEN_NETWORK": "true",
            "PROVISIONER_FILE_SCOPE": "sandbox",
        },
    )


class TestPydanticAI(PydanticAISuite):
    settings = "Kubernetes runtime over HTTP, PROVISIONER_FILE_SCOPE=sandbox"

    @pytest.fixture
    def sandboxes(self, server):
        with BlockingSandboxes(RemoteSandboxes(server.url, server.key)) as sandboxes:
            yield sandboxes


class TestInspect(InspectSuite):
    settings = (
        "Kubernetes runtime over HTTP, PROVISIONER_FILE_SCOPE=sandbox, max_output_bytes=10 MiB"
    )

    @pytest.fixture
    async def sandboxes(self, server):
        async with RemoteSandboxes(server.url, server.key) as sandboxes:
            yield sandboxes
