"""deepagents on a server whose verbs reach every path of its sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes


@pytest.fixture(scope="module")
def thread(new_server):
    server = new_server(settings={"PROVISIONER_FILE_SCOPE": "sandbox"})
    with BlockingSandboxes(RemoteSandboxes(server.url)) as sandboxes:
        yield sandboxes.thread("wide")


@pytest.fixture(scope="module")
def wide(thread):
    backend = DeepAgentsSandbox(thread, file_scope="sandbox")
    made = backend.execute(
        "mkdir -p /tmp/wide/a && echo needle > /tmp/wide/a/b.txt && ln -s /tmp/wide link"
    )
    assert made.exit_code == 0
    return backend


def paths(found):
    assert not found.error
    return {match["path"] for match in found.matches}


def test_files_beside_the_workspace_are_read_and_written(wide):
    assert wide.write("/tmp/wide/c", "text\n").error is None
    assert wide.read("/tmp/wide/c").file_data["content"] == "text"
    listed = {entry["path"] for entry in wide.ls("/tmp/wide").entries}
    assert listed == {"/tmp/wide/a", "/tmp/wide/c"}
    assert {"/etc", "/workspace"} <= {entry["path"] for entry in wide.ls("/").entries}
    assert wide.delete("/tmp/wide/c").error is None


def test_they_are_searched(wide):
    assert paths(wide.grep("needle", path="/tmp")) == {"/tmp/wide/a/b.txt"}
    assert paths(wide.glob("**/b.txt", path="/tmp")) == {"/tmp/wide/a/b.txt"}
    assert paths(wide.glob("/tmp/*/a/*.txt", path="/")) == {"/tmp/wide/a/b.txt"}
    assert paths(wide.glob("a/*.txt", path="/workspace/link")) == {"/workspace/link/a/b.txt"}


def test_what_the_kernel_makes_up_is_not_searched(wide):
    assert wide.grep("Name:", path="/proc/self").error
    assert wide.glob("*", path="/proc").error
    assert not wide.glob("*/meminfo", path="/").matches
    assert paths(wide.glob("*/passwd", path="/")) == {"/etc/passwd"}
    assert wide.read("/proc/meminfo").error
    assert wide.delete("/proc/self").error


def test_without_a_path_the_workspace_is_searched(wide):
    assert paths(wide.grep("needle")) == set()
    assert wide.write("/workspace/own.txt", "needle\n").error is None
    assert paths(wide.grep("needle")) == {"/workspace/own.txt"}
    assert wide.delete("/workspace").error


def test_a_backend_that_does_not_say_so_stays_in_the_workspace(thread, wide):
    narrow = DeepAgentsSandbox(thread)
    assert narrow.read("/tmp/wide/a/b.txt").error
    assert narrow.grep("needle", path="/tmp").error
    assert [entry["path"] for entry in narrow.ls("/").entries] == ["/workspace"]
