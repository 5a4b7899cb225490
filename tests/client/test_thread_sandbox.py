"""One thread's sandbox: acquired when needed, again when gone, and never silently another."""

from __future__ import annotations

import asyncio
import os
import secrets
import select
import signal

import pytest
from redis.asyncio import Redis
from tests.client.conftest import KEY

from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import (
    CapacityError,
    InvalidRequestError,
    SandboxReleasedError,
    SandboxReplacedError,
    SandboxUnavailableError,
    TextNotFoundError,
)
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.runtimes.local import liveness


@pytest.fixture
async def thread(remote):
    thread = ThreadSandbox(remote, f"thread-{secrets.token_hex(6)}")
    yield thread
    await thread.release()


async def test_nothing_is_acquired_before_it_is_needed(remote, thread):
    before = {s.thread_id for s in (await remote.list_sandboxes()).sandboxes}
    assert not thread.acquired
    assert thread.thread_id not in before
    assert (await thread.execute("echo hello")).stdout == "hello\n"
    assert thread.acquired.reused is False


async def test_first_calls_at_once_acquire_once(thread):
    answers = await asyncio.gather(*(thread.execute("echo $$ >> pids; pwd") for _ in range(8)))
    assert {answer.stdout for answer in answers} == {"/workspace\n"}
    assert len((await thread.read_file("/workspace/pids")).content.split()) == 8


async def test_a_released_sandbox_is_replaced_and_the_caller_is_told(remote, thread):
    await thread.write_file("/workspace/x", "old")
    first = thread.acquired
    await remote.release(thread_id=thread.thread_id)
    with pytest.raises(SandboxReplacedError, match="files of before are gone") as told:
        await thread.execute("cat x")
    assert (told.value.workspace_is_new, told.value.may_have_run) == (True, False)
    assert told.value.sandbox_id == thread.acquired.sandbox_id != first.sandbox_id
    assert (await thread.ls()).entries == []


async def test_calls_that_meet_the_same_loss_acquire_once(remote, thread):
    await thread.acquire()
    await remote.release(thread_id=thread.thread_id)
    ended = await asyncio.gather(*(thread.ls() for _ in range(6)), return_exceptions=True)
    assert {type(end) for end in ended} == {SandboxReplacedError}
    assert {end.sandbox_id for end in ended} == {thread.acquired.sandbox_id}


async def test_a_running_command_that_loses_its_sandbox_may_have_run(remote, thread):
    running = asyncio.create_task(thread.execute("touch begun; sleep 60"))
    async with asyncio.timeout(20):
        while not thread.acquired or not (await thread.ls()).entries:
            await asyncio.sleep(0.05)
    await remote.release(thread_id=thread.thread_id)
    with pytest.raises(SandboxReplacedError) as told:
        await running
    assert told.value.may_have_run is True


async def test_a_sandbox_that_does_not_answer_is_acquired_again_by_the_next_call(server):
    async with RemoteSandboxes(server.url, KEY, retry_seconds=0) as hasty:
        thread = ThreadSandbox(hasty, f"thread-{secrets.token_hex(6)}")
        await thread.write_file("/workspace/x", "kept")
        first = thread.acquired
        kill_first_process(server, first.sandbox_id)
        with pytest.raises(SandboxUnavailableError):
            await thread.ls()
        assert (await thread.read_file("/workspace/x")).content == "kept"
        assert thread.acquired.restarted
        assert thread.acquired.sandbox_id == first.sandbox_id
        await thread.release()


def kill_first_process(server, sandbox_id):
    """Kill the first process of a sandbox, and wait until it is gone."""
    (status,) = (
        record.with_name("status")
        for record in server.home.glob("sandboxes/*/object.json")
        if sandbox_id in record.read_text()
    )
    process = os.pidfd_open(liveness.first_process(status))
    try:
        signal.pidfd_send_signal(process, signal.SIGKILL)
        assert select.select([process], [], [], 60)[0]
    finally:
        os.close(process)


async def test_of_an_adopted_sandbox_it_is_told_that_the_files_are_there(server, thread):
    await thread.write_file("/workspace/x", "kept")
    first = thread.acquired
    async with Redis.from_url(EmbeddedServer.ensure(server.home)) as store:
        await store.flushall()
    with pytest.raises(SandboxReplacedError, match="with its files") as told:
        await thread.execute("cat x")
    assert (told.value.workspace_is_new, told.value.may_have_run) == (False, False)
    assert (await thread.execute("cat x")).stdout == "kept"
    assert thread.acquired.sandbox_id != first.sandbox_id
    assert thread.acquired.generation > first.generation


async def test_what_another_process_made_meanwhile_is_not_taken_for_the_files_of_before(
    remote, thread
):
    await thread.write_file("/workspace/x", "old")
    await remote.release(thread_id=thread.thread_id)
    await ThreadSandbox(remote, thread.thread_id).write_file("/workspace/x", "other")
    with pytest.raises(SandboxReplacedError) as told:
        await thread.read_file("/workspace/x")
    assert told.value.workspace_is_new is True
    assert (await thread.read_file("/workspace/x")).content == "other"


async def test_a_call_under_way_does_not_bring_back_what_was_released_here(remote, thread):
    running = asyncio.create_task(thread.execute("touch begun; sleep 60"))
    async with asyncio.timeout(20):
        while not thread.acquired or not (await thread.ls()).entries:
            await asyncio.sleep(0.05)
    assert await thread.release() is True
    with pytest.raises(SandboxReleasedError):
        await running
    assert thread.acquired is None
    live = {s.thread_id for s in (await remote.list_sandboxes()).sandboxes}
    assert thread.thread_id not in live


async def test_a_release_ends_no_sandbox_of_another_process(remote, thread):
    await thread.acquire()
    await remote.release(thread_id=thread.thread_id)
    other = ThreadSandbox(remote, thread.thread_id)
    await other.write_file("/workspace/x", "theirs")
    assert await thread.release() is False
    assert (await other.read_file("/workspace/x")).content == "theirs"
    await other.release()


async def test_when_nothing_can_be_acquired_the_loss_itself_is_told(remote, thread, monkeypatch):
    running = asyncio.create_task(thread.execute("touch begun; sleep 60"))
    async with asyncio.timeout(20):
        while not thread.acquired or not (await thread.ls()).entries:
            await asyncio.sleep(0.05)

    async def full(*_, **__):
        raise CapacityError("full")

    monkeypatch.setattr(remote, "acquire", full)
    await remote.release(thread_id=thread.thread_id)
    with pytest.raises(SandboxReleasedError) as told:
        await running
    assert told.value.may_have_run is True


async def test_a_stream_that_is_uploaded_is_sent_once(remote, thread):
    await thread.acquire()
    await remote.release(thread_id=thread.thread_id)

    async def content():
        yield b"once"

    with pytest.raises(SandboxReplacedError):
        await thread.upload("/workspace/x", content())
    assert (await thread.ls()).entries == []


async def test_what_the_caller_does_with_a_download_is_no_loss_of_it(thread):
    await thread.write_file("/workspace/x", "text")
    first = thread.acquired
    with pytest.raises(SandboxReleasedError):
        async with thread.download("/workspace/x"):
            raise SandboxReleasedError("another one")
    assert thread.acquired == first


async def test_an_error_about_a_file_is_no_loss(thread):
    await thread.write_file("/workspace/x", "text")
    first = thread.acquired
    with pytest.raises(TextNotFoundError):
        await thread.replace("/workspace/x", "none", "some")
    assert thread.acquired == first


async def test_scopes_are_apart(remote, thread):
    other = ThreadSandbox(remote, thread.thread_id, scope="another-tenant")
    await other.acquire()
    assert other.acquired.scope == "another-tenant"
    assert other.acquired.sandbox_id != (await thread.acquire()).sandbox_id
    assert await other.release() is True
    assert await other.release() is False


async def test_what_is_given_is_given_to_each_sandbox_of_the_thread(remote):
    name = secrets.token_hex(6)
    thread = ThreadSandbox(remote, name, labels={name: "1", "a": "="}, env={"TOKEN": "s3cret"})
    assert (await thread.execute("echo $TOKEN")).stdout == "s3cret\n"
    await remote.release(thread_id=name)
    with pytest.raises(SandboxReplacedError):
        await thread.execute("true")
    assert (await thread.execute("echo $TOKEN")).stdout == "s3cret\n"
    listed = await remote.list_sandboxes(label={name: "1", "a": "="})
    assert [(s.thread_id, s.labels) for s in listed.sandboxes] == [(name, {name: "1", "a": "="})]
    assert (await remote.list_sandboxes(label={name: "2"})).sandboxes == []
    assert thread.acquired.env_lost is False
    await thread.release()


async def test_a_list_by_what_is_no_label_is_refused_before_it_is_sent(remote):
    with pytest.raises(InvalidRequestError, match="label"):
        await remote.list_sandboxes(label={"a=b": "c"})
