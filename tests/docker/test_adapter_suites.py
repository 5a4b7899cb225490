"""The suites that others publish, on containers."""

from __future__ import annotations

import pytest
from tests.adapters.inspect_ai_suite import InspectSuite
from tests.adapters.pydantic_ai_suite import PydanticAISuite

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def sandboxes(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, server.key)) as sandboxes:
        yield sandboxes


@pytest.fixture(scope="module")
def server_settings():
    # Inspect's suite writes 50 MiB in one piece, and 1 MiB of arguments.
    return {"PROVISIONER_FILE_SCOPE": "sandbox", "PROVISIONER_TMP_LIMIT_MB": "128"}


class TestPydanticAI(PydanticAISuite):
    settings = "docker runtime over HTTP, PROVISIONER_FILE_SCOPE=sandbox"


class TestInspect(InspectSuite):
    settings = "docker runtime over HTTP, PROVISIONER_FILE_SCOPE=sandbox, max_output_bytes=10 MiB"

    @pytest.fixture
    async def sandboxes(self, server):
        async with RemoteSandboxes(server.url, server.key) as sandboxes:
            yield sandboxes
