"""What was shown can be edited, what is named absolutely is found, and what is shut is told."""

from __future__ import annotations

import pytest
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.adapters.deerflow import OneSeekSandboxProvider
from oneseek_sandbox.client.remote import RemoteSandboxes

pytestmark = pytest.mark.finding(18)


@pytest.fixture(scope="module")
def backend(new_thread):
    backend = DeepAgentsSandbox(new_thread())
    backend.upload_files([
        ("/workspace/src/a.py", b"needle"), ("/workspace/src/deep/b.py", b"needle"),
        ("/workspace/c.py", b""), ("/workspace/other/src/d.py", b""),
    ])  # fmt: skip
    return backend


@pytest.mark.parametrize(
    ("pattern", "path", "expected"),
    [
        ("/workspace/src/**/*.py", None, ["src/a.py", "src/deep/b.py"]),
        ("/workspace/src/**/*.py", "/", ["src/a.py", "src/deep/b.py"]),
        ("/workspace/src/**/*.py", "/workspace/src", ["src/a.py", "src/deep/b.py"]),
        ("/workspace/*.py", None, ["c.py"]),
        ("/workspace/src/*.py", "/workspace", ["src/a.py"]),
        ("/src/*.py", None, ["src/a.py"]),
        ("/workspace/src/*.py", "/workspace/other", []),
    ],
)
def test_an_absolute_pattern_means_the_absolute_path(backend, pattern, path, expected):
    result = backend.glob(pattern, path)
    assert result.error is None
    assert [match["path"] for match in result.matches] == [
        f"/workspace/{name}" for name in expected
    ]


@pytest.mark.parametrize("where", ["/workspace/shut", "/workspace"])
def test_a_directory_that_cannot_be_read_is_not_told_as_no_match(backend, where):
    backend.execute("mkdir -p shut && touch shut/x.rs && chmod 0 shut")
    found = backend.glob("*.rs", where), backend.grep("nowhere-to-be-found", where)
    backend.execute("chmod 700 shut && rm -r shut")
    for result in found:
        assert "unreadable" in str(result.error) or "permission_denied" in str(result.error)


def test_deerflow_is_told_of_a_directory_that_cannot_be_read(server):
    provider = OneSeekSandboxProvider(sandboxes=RemoteSandboxes(server.url, KEY))
    sandbox = provider.get(provider.acquire("shut", user_id="alice"))
    sandbox.execute_command(
        "mkdir -p /workspace/shut && touch /workspace/shut/x && chmod 0 /workspace/shut"
    )
    for path in ("/workspace/shut", "/workspace"):
        with pytest.raises(PermissionError):
            sandbox.glob(path, "*.rs")
        with pytest.raises(PermissionError):
            sandbox.grep(path, "nowhere-to-be-found")
    provider.shutdown()


@pytest.mark.parametrize(
    ("before", "old", "new", "after"),
    [
        (b"a\r\nb\r\nc\r\n", "b", "1\n2", b"a\r\n1\r\n2\r\nc\r\n"),
        (b"a\r\nb\r\nc\r\n", "b", "1\r\n2", b"a\r\n1\r\n2\r\nc\r\n"),
        (b"a\r\nb\nc\r\n", "a\nb\nc", "1\n2", b"1\r\n2\r\n"),
        (b"a\nb\nc\r\n", "a\nb", "1\n2", b"1\n2\nc\r\n"),
        (b"a\nb\n", "b", "1\n2", b"a\n1\n2\n"),
    ],
)
def test_an_edit_of_what_was_shown_keeps_the_line_ends(backend, before, old, new, after):
    backend.upload_files([("/workspace/ends", before)])
    shown = backend.read("/workspace/ends").file_data["content"]
    assert old in shown
    assert backend.edit("/workspace/ends", old, new).occurrences == 1
    assert backend.download_files(["/workspace/ends"])[0].content == after
    shown = backend.read("/workspace/ends").file_data["content"]
    assert backend.edit("/workspace/ends", shown, "all\nof it").error is None


def test_text_that_occurs_twice_or_not_in_a_file_of_mixed_ends_is_refused(backend):
    backend.upload_files([("/workspace/twice", b"a\r\nb\na\nb\r\n")])
    assert "not found" in str(backend.edit("/workspace/twice", "b\nb", "c").error)
    assert "multiple times" in str(backend.edit("/workspace/twice", "b", "1\n2").error)
    assert backend.edit("/workspace/twice", "b", "1\n2", replace_all=True).occurrences == 2
