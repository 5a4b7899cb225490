"""Pydantic AI's suite for workspaces, on sandboxes of this machine."""

from __future__ import annotations

import pytest
from tests.adapters.pydantic_ai_suite import PydanticAISuite

from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.settings import Settings


@pytest.fixture(scope="module")
def embedded(tmp_path_factory):
    settings = Settings(home=tmp_path_factory.mktemp("embedded") / "home", state_store="file")
    with BlockingSandboxes(EmbeddedSandboxes(settings)) as sandboxes:
        yield sandboxes


class TestRemote(PydanticAISuite):
    settings = "local runtime over HTTP, default settings"


class TestEmbedded(PydanticAISuite):
    settings = "local runtime in this process, leases in a file, default settings"

    @pytest.fixture
    def sandboxes(self, embedded):
        return embedded
