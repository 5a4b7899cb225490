"""The suite that Pydantic AI publishes for workspaces, on the `sandboxes` of a fixture."""

from __future__ import annotations

import importlib.metadata
import uuid

import pytest
from pydantic_ai.workspaces.conformance import WorkspaceBackendSuite
from tests.published_suites import PublishedSuite

from oneseek_sandbox.adapters.pydantic_ai import OneSeekWorkspaceBackend

VERSION = importlib.metadata.version("pydantic-ai-slim")


class PydanticAISuite(PublishedSuite, WorkspaceBackendSuite):
    """All of it: the fixtures for attaching and destroying are there."""

    suite = f"WorkspaceBackendSuite of pydantic-ai-slim {VERSION}"

    @pytest.fixture
    def anyio_backend(self):
        return "asyncio"

    @pytest.fixture
    def fresh_backend(self, sandboxes):
        threads = []

        def fresh():
            threads.append(sandboxes.thread(f"suite-{uuid.uuid4().hex}"))
            return OneSeekWorkspaceBackend(sandboxes, thread_id=threads[-1].thread_id)

        yield fresh
        for thread in threads:
            thread.release()

    @pytest.fixture
    def backend(self, fresh_backend):
        return fresh_backend()

    @pytest.fixture
    def attach_backend(self, sandboxes):
        return lambda ref: OneSeekWorkspaceBackend(sandboxes, ref=ref)

    @pytest.fixture
    def destroy_environment(self, sandboxes):
        async def destroy(backend):
            sandboxes.release(sandbox_id=backend.ref.id)

        return destroy
