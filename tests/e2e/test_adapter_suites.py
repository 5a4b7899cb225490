"""The suites that others publish, on pods, by the public route."""

from __future__ import annotations

import httpx
import pytest
from tests.adapters.pydantic_ai_suite import PydanticAISuite

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes

pytestmark = pytest.mark.e2e


class ByHost(httpx.AsyncHTTPTransport):
    """Asks an ingress for the host that it serves under another address."""

    def __init__(self, host):
        super().__init__()
        self._host = host

    async def handle_async_request(self, request):
        request.headers["host"] = self._host
        return await super().handle_async_request(request)


@pytest.fixture(scope="module")
def sandboxes(route, key):
    url, host = route
    transport = ByHost(host) if host else None
    with BlockingSandboxes(RemoteSandboxes(url, key, transport=transport)) as sandboxes:
        yield sandboxes


class TestPydanticAI(PydanticAISuite):
    settings = "Kubernetes runtime by the public route"
