"""Inspect's suite for sandboxes, on sandboxes of this machine."""

from __future__ import annotations

import pytest
from tests.adapters.conftest import KEY
from tests.adapters.inspect_ai_suite import InspectSuite

from oneseek_sandbox.client.remote import RemoteSandboxes

WIDE = {"PROVISIONER_FILE_SCOPE": "sandbox"}


@pytest.fixture(scope="module")
def wide_server(new_server):
    return new_server(key=KEY, settings=WIDE)


class TestWide(InspectSuite):
    settings = "local runtime over HTTP, PROVISIONER_FILE_SCOPE=sandbox, max_output_bytes=10 MiB"

    @pytest.fixture
    async def sandboxes(self, wide_server):
        async with RemoteSandboxes(wide_server.url, KEY) as sandboxes:
            yield sandboxes
