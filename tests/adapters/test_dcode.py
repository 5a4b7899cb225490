"""The provider that Deep Agents Code finds by its entry point."""

from __future__ import annotations

import importlib
import tomllib
from pathlib import Path

import pytest
from deepagents_code.integrations.sandbox_provider import (
    SandboxError,
    SandboxNotFoundError,
    SandboxProvider,
)
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.dcode import OneSeekSandboxProvider
from oneseek_sandbox.client.remote import RemoteSandboxes


@pytest.fixture(scope="module")
def provider(server):
    provider = OneSeekSandboxProvider(RemoteSandboxes(server.url, KEY))
    yield provider
    provider.close()


def test_the_entry_point_names_it():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    (entry,) = project["entry-points"]["deepagents_code.sandbox_providers"].items()
    module, _, name = entry[1].partition(":")
    assert getattr(importlib.import_module(module), name) is OneSeekSandboxProvider


def test_it_can_be_made_and_described_without_a_server():
    provider = OneSeekSandboxProvider()
    assert isinstance(provider, SandboxProvider)
    assert (provider.metadata.name, provider.metadata.working_dir) == ("oneseek", "/workspace")


def test_a_sandbox_is_made_found_by_its_id_and_deleted(provider):
    backend = provider.get_or_create()
    backend.write("/workspace/kept", "kept")
    again = provider.get_or_create(sandbox_id=backend.id)
    assert again.id == backend.id
    assert again.read("/workspace/kept").file_data["content"] == "kept"
    provider.delete(sandbox_id=backend.id)
    provider.delete(sandbox_id=backend.id)
    with pytest.raises(SandboxNotFoundError, match="any more"):
        provider.get_or_create(sandbox_id=backend.id)


def test_asking_for_one_that_is_gone_leaves_none_behind(provider, server):
    with pytest.raises(SandboxNotFoundError):
        provider.get_or_create(sandbox_id="never-was")
    with server.client() as client:
        threads = {s["thread_id"] for s in client.get("/v1/sandbox").json()["sandboxes"]}
    assert "never-was" not in threads


async def test_it_can_be_awaited(provider):
    backend = await provider.aget_or_create()
    assert (await backend.aexecute("pwd")).output == "/workspace\n"
    await provider.adelete(sandbox_id=backend.id)


def test_parameters_that_it_does_not_have_are_refused(provider):
    with pytest.raises(TypeError, match="no parameter snapshot"):
        provider.get_or_create(snapshot="s")


def test_a_server_that_is_not_there_is_told_of():
    provider = OneSeekSandboxProvider(RemoteSandboxes("http://127.0.0.1:9", retry_seconds=0))
    with pytest.raises(SandboxError, match="cannot be reached"):
        provider.get_or_create()
    provider.close()
