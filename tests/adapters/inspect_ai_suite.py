"""The suite that Inspect publishes for sandboxes, on the `sandboxes` of a fixture."""

from __future__ import annotations

import importlib.metadata
import inspect

import pytest
from inspect_ai.util._sandbox import self_check
from tests.published_suites import PublishedSuite

from oneseek_sandbox.adapters.inspect_ai import OneSeekSandboxConfig, OneSeekSandboxEnvironment

VERSION = importlib.metadata.version("inspect-ai")
ANOTHER_USER = {"test_exec_as_user": "a sandbox has one user, and nobody becomes another in it"}


class InspectSuite(PublishedSuite):
    """All of it; a class that inherits it has `sandboxes` of its own event loop."""

    suite = f"self_check of inspect-ai {VERSION}"
    not_passed = ANOTHER_USER
    max_output_bytes = 10 * 1024 * 1024  # as Inspect's own providers have it

    @pytest.fixture
    async def sandbox_env(self, sandboxes, request):
        acquired = await sandboxes.acquire(f"suite-{request.node.originalname}")
        config = OneSeekSandboxConfig(max_output_bytes=self.max_output_bytes)
        yield OneSeekSandboxEnvironment(sandboxes, acquired.sandbox_id, config=config)
        await sandboxes.release(sandbox_id=acquired.sandbox_id)


def _as_method(check):
    async def method(self, sandbox_env):
        await check(sandbox_env)

    method.__doc__ = inspect.getdoc(check)
    return method


for name in self_check.__all__:
    setattr(InspectSuite, name, _as_method(getattr(self_check, name)))
