"""DeerFlow's provider, as its tools use it: whose sandbox is whose, from turn to turn."""

from __future__ import annotations

import asyncio

import pytest
from deerflow.sandbox.exceptions import SandboxRuntimeError
from deerflow.sandbox.sandbox import Sandbox
from deerflow.sandbox.sandbox_provider import SandboxProvider
from tests.adapters.conftest import KEY
from tests.adapters.deerflow.conftest import HOME

from oneseek_sandbox.adapters.deerflow import DeerFlowSandbox, OneSeekSandboxProvider
from oneseek_sandbox.client.remote import RemoteSandboxes


def test_they_are_what_deerflow_derives_from(provider, sandbox):
    assert isinstance(provider, SandboxProvider)
    assert isinstance(sandbox, Sandbox)
    assert sandbox.persistent_shell_sessions is False


class TestProvider:
    def test_a_thread_has_its_sandbox_again_in_the_next_turn(self, provider):
        first = provider.acquire("turns", user_id="alice")
        provider.get(first).write_file(f"{HOME}/kept", "kept")
        provider.release(first)
        assert provider.get(first) is None
        again = provider.acquire("turns", user_id="alice")
        assert again == first
        assert provider.get(again).read_file(f"{HOME}/kept") == "kept"

    def test_another_process_finds_the_same_sandbox(self, provider, place):
        ours = provider.acquire("processes", user_id="alice")
        provider.get(ours).write_file(f"{HOME}/kept", "kept")
        other = OneSeekSandboxProvider(sandboxes=RemoteSandboxes(place.url, KEY))
        theirs = other.acquire("processes", user_id="alice")
        assert theirs == ours
        assert other.get(theirs).read_file(f"{HOME}/kept") == "kept"
        other.shutdown()
        assert provider.get(ours).read_file(f"{HOME}/kept") == "kept"

    def test_users_with_the_same_thread_have_sandboxes_of_their_own(self, provider):
        alice, bob = (provider.acquire("shared", user_id=user) for user in ("alice", "bob"))
        provider.get(alice).write_file(f"{HOME}/secret", "alice's")
        with pytest.raises(FileNotFoundError):
            provider.get(bob).read_file(f"{HOME}/secret")

    def test_without_a_thread_there_is_a_new_sandbox_each_time(self, provider):
        assert provider.acquire() != provider.acquire()

    def test_what_was_not_acquired_is_not_there(self, provider):
        assert provider.get("0" * 16) is None
        provider.release("0" * 16)

    async def test_it_can_be_awaited_many_times_at_once(self, provider):
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(provider.acquire_async("crowd", user_id="alice"))
                for _ in range(8)
            ]
        assert len({task.result() for task in tasks}) == 1

    def test_a_sandbox_that_ended_between_turns_is_told_of(self, provider, place):
        sandbox_id = provider.acquire("gone", user_id="alice")
        provider.get(sandbox_id).write_file(f"{HOME}/lost", "")
        provider.release(sandbox_id)
        with place.client() as client:
            name = {"thread_id": "gone", "scope": "alice"}
            assert client.post("/v1/sandbox/release", json=name).json()["released"]
        sandbox = provider.get(provider.acquire("gone", user_id="alice"))
        with pytest.raises(SandboxRuntimeError, match="a new one with an empty workspace is ready"):
            sandbox.read_file(f"{HOME}/lost")
        assert "outputs" in sandbox.execute_command("cd /mnt/user-data/outputs; pwd")

    def test_no_two_users_threads_share_an_id(self, monkeypatch):
        monkeypatch.setattr(DeerFlowSandbox, "prepare", lambda _: None)
        provider = OneSeekSandboxProvider(sandboxes=RemoteSandboxes("http://127.0.0.1:9"))
        names = [("a", "b:c"), ("a:b", "c"), ("", "a:b:c"), (None, "a:b:c")]
        ids = {provider.acquire(thread, user_id=user) for user, thread in names}
        assert len(ids) == len(names)
        assert {len(id_) for id_ in ids} == {32}
        provider.shutdown()

    def test_a_server_that_is_not_there_is_told_of(self):
        nowhere = RemoteSandboxes("http://127.0.0.1:9", retry_seconds=0)
        provider = OneSeekSandboxProvider(sandboxes=nowhere)
        with pytest.raises(SandboxRuntimeError, match="cannot be reached"):
            provider.acquire("thread")
        provider.shutdown()

    def test_it_reads_its_settings_like_any_backend(self, place, monkeypatch):
        monkeypatch.setenv("SANDBOX_MODE", "provisioner")
        monkeypatch.setenv("SANDBOX_PROVISIONER_URL", place.url)
        monkeypatch.setenv("SANDBOX_PROVISIONER_API_KEY", KEY)
        provider = OneSeekSandboxProvider()
        assert isinstance(provider.get(provider.acquire("settings")), DeerFlowSandbox)
        provider.reset()
        assert provider.acquire("settings")
        provider.shutdown()
