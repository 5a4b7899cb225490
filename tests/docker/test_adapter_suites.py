"""The suites that others publish, on containers."""

from __future__ import annotations

import pytest
from tests.adapters.pydantic_ai_suite import PydanticAISuite

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes

pytestmark = pytest.mark.docker


@pytest.fixture(scope="module")
def sandboxes(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, server.key)) as sandboxes:
        yield sandboxes


class TestPydanticAI(PydanticAISuite):
    settings = "docker runtime over HTTP"
