"""The same for code that is not async."""

from __future__ import annotations

import secrets
import threading
import time
from concurrent.futures import CancelledError, ThreadPoolExecutor

import pytest
from tests.client.conftest import KEY

from oneseek_sandbox.client import BlockingSandboxes, Output
from oneseek_sandbox.client.embedded import EmbeddedSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import InvalidRequestError, SandboxError, WorkspaceFileNotFoundError
from oneseek_sandbox.settings import Settings


@pytest.fixture
def thread(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes:
        thread = sandboxes.thread(f"thread-{secrets.token_hex(6)}")
        yield thread
        thread.release()


def test_calls_wait_for_their_answers_and_raise_the_same_errors(thread):
    thread.write_file("/workspace/x", "text")
    assert thread.execute("cat x").stdout == "text"
    with pytest.raises(WorkspaceFileNotFoundError):
        thread.read_file("/workspace/none")


def test_a_stream_is_an_iterator_and_may_be_left_early(thread):
    events = list(thread.stream("echo one; exit 3"))
    assert events[0] == Output("stdout", "one\n")
    assert events[-1].exit_code == 3
    for event in thread.stream("echo up; sleep 60"):
        assert event == Output("stdout", "up\n")
        break
    assert thread.execute("echo next").stdout == "next\n"


def test_a_download_is_a_context_manager(thread):
    content = bytes(range(256)) * 1000
    thread.upload("/workspace/x", content)
    with thread.download("/workspace/x") as file:
        assert file.size == len(content)
        assert b"".join(file.chunks) == content


def test_a_local_file_and_pieces_are_uploaded(thread, tmp_path):
    local = tmp_path / "local"
    local.write_bytes(bytes(range(256)) * 9000)
    thread.upload("/workspace/x", local, mode="0600")
    thread.upload("/workspace/x", (b"%d" % n for n in range(9)), append=True)
    with thread.download("/workspace/x") as file:
        assert b"".join(file.chunks) == local.read_bytes() + b"012345678"
    with pytest.raises(InvalidRequestError, match="write_file for a text"):
        thread.upload("/workspace/x", "text")


def test_sandboxes_that_do_not_open_leave_no_thread_behind(tmp_path):
    (tmp_path / "home").write_text("in the way")
    before = set(threading.enumerate())
    with (
        pytest.raises((SandboxError, OSError)),
        BlockingSandboxes(EmbeddedSandboxes(Settings(home=tmp_path / "home"))),
    ):
        pass
    assert {t for t in threading.enumerate() if t.name == "oneseek-sandbox"} <= before


def test_closing_ends_what_another_thread_waits_for(server):
    with ThreadPoolExecutor(1) as others:
        with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes:
            thread = sandboxes.thread(f"thread-{secrets.token_hex(6)}")
            thread.acquire()
            waiting = others.submit(thread.execute, "touch begun; sleep 60")
            deadline = time.monotonic() + 20
            while not thread.ls().entries:
                assert time.monotonic() < deadline
                time.sleep(0.05)
        with pytest.raises((CancelledError, SandboxError)):
            waiting.result(timeout=20)
        with pytest.raises(RuntimeError, match="closed"):
            thread.ls()


def test_a_stream_that_is_let_go_in_the_loops_own_thread_does_not_stop_it(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as sandboxes:
        thread = sandboxes.thread(f"thread-{secrets.token_hex(6)}")
        held = [thread.stream("echo up; sleep 60")]
        next(held[0])
        sandboxes.loop.call_soon_threadsafe(held.clear)
        assert thread.execute("echo next").stdout == "next\n"
        thread.release()
