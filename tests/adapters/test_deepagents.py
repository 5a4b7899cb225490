"""What a deepagents backend answers where the published suite does not ask."""

from __future__ import annotations

import asyncio
import base64

import pytest
from deepagents.backends.protocol import FileDownloadResponse, FileUploadResponse
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.blocking import BlockingSandboxes
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.client.thread import ThreadSandbox


@pytest.fixture(scope="module")
def backend(new_thread):
    return DeepAgentsSandbox(new_thread())


@pytest.fixture
def folder(backend, request):
    path = f"/workspace/{request.node.name.replace('[', '-').replace(']', '')}"
    backend.execute(f"mkdir -p '{path}'")
    return path


class TestErrors:
    @pytest.mark.parametrize(
        ("path", "code"),
        [
            ("/workspace/missing", "file_not_found"),
            ("/workspace/errors", "is_directory"),
            ("/workspace/errors/pipe", "invalid_path"),
            ("/workspace/errors/file/below", "invalid_path"),
            ("/workspace/errors/closed", "permission_denied"),
            ("/workspace/errors/out", "invalid_path"),
            ("/etc/passwd", "invalid_path"),
            ("/workspace/../etc/passwd", "invalid_path"),
            ("errors/file", "invalid_path"),
            ("/workspace/nul\0", "invalid_path"),
            ("/workspace/" + "x" * 5000, "invalid_path"),
            ("", "invalid_path"),
        ],
    )
    def test_a_download_that_fails_has_the_code_that_deepagents_knows(self, backend, path, code):
        backend.execute(
            "mkdir -p errors; cd errors; mkfifo pipe; touch file; ln -s /etc/passwd out; "
            "touch closed; chmod 0 closed"
        )
        assert backend.download_files([path]) == [FileDownloadResponse(path=path, error=code)]
        assert code in str(backend.read(path).error)

    def test_one_bad_file_does_not_hold_up_the_others(self, backend, folder):
        good = f"{folder}/good"
        assert backend.upload_files([("/etc/bad", b"1"), (good, b"2")]) == [
            FileUploadResponse(path="/etc/bad", error="invalid_path"),
            FileUploadResponse(path=good),
        ]
        assert [r.content for r in backend.download_files(["/etc/bad", good])] == [None, b"2"]

    def test_a_file_too_large_to_hold_is_not_downloaded(self, backend, folder):
        backend.execute(f"truncate -s $((2**20 * 100 + 1)) {folder}/over")
        backend.write(f"{folder}/small", "small")
        over, small = backend.download_files([f"{folder}/over", f"{folder}/small"])
        assert over.content is None
        assert str(over.error).startswith("file too large: ")
        assert (small.content, small.error) == (b"small", None)

    def test_searches_and_deletions_say_what_is_wrong_with_their_path(self, backend, folder):
        backend.execute(f"ln -s /etc '{folder}/out'; touch '{folder}/file'")
        for path, reason in {
            f"{folder}/missing": "file_not_found",
            f"{folder}/out": "invalid_path",
            "/etc": "invalid_path",
            "relative": "invalid_path",
        }.items():
            assert reason in str(backend.grep("x", path=path).error)
            assert reason in str(backend.glob("*", path=path).error)
        assert "not_a_directory" in str(backend.glob("*", path=f"{folder}/file").error)
        assert "not found" in str(backend.delete(f"{folder}/missing").error)
        assert "invalid_path" in str(backend.delete("/etc/passwd").error)
        assert "is_workspace" in str(backend.delete("/workspace").error)

    def test_a_command_that_cannot_run_is_a_response(self, backend):
        response = backend.execute("true", timeout=100_000)
        assert response.exit_code is None
        assert "timeout_seconds" in response.output

    def test_text_that_is_not_unicode_is_refused(self, backend, folder):
        assert "not Unicode" in str(backend.write(f"{folder}/half", "\ud800").error)

    def test_a_server_that_is_not_there_is_told_of(self):
        nowhere = RemoteSandboxes("http://127.0.0.1:9", retry_seconds=0)
        with BlockingSandboxes(nowhere) as sandboxes:
            backend = DeepAgentsSandbox(sandboxes.thread("nowhere"))
            assert "cannot be reached" in str(backend.ls("/workspace").error)
            assert "cannot be reached" in backend.execute("true").output


class TestExecute:
    def test_stderr_stands_behind_stdout(self, backend):
        response = backend.execute("echo one; printf two >&2; exit 3")
        assert (response.output, response.exit_code) == ("one\ntwo", 3)

    def test_a_limit_is_told_of_with_the_output_until_then(self, backend):
        response = backend.execute("echo begun; sleep 60", timeout=1)
        assert response.exit_code == 124
        assert response.output.startswith("begun\n[Ended after its limit of 1 seconds")

    def test_output_that_was_cut_is_flagged(self, backend):
        assert backend.execute("head -c 5000000 /dev/zero | tr '\\0' x").truncated

    def test_variables_go_with_every_command(self, new_thread):
        backend = DeepAgentsSandbox(new_thread(), env={"GREETING": "hello"})
        assert backend.execute("echo $GREETING").output == "hello\n"


class TestFiles:
    def test_a_write_replaces_what_is_there(self, backend, folder):
        backend.write(f"{folder}/file", "first")
        assert backend.write(f"{folder}/file", "second").error is None
        assert backend.download_files([f"{folder}/file"])[0].content == b"second"

    def test_above_the_workspace_there_is_the_workspace(self, backend):
        entries = backend.ls("/").entries
        assert [(entry["path"], entry["is_dir"]) for entry in entries] == [("/workspace", True)]

    def test_an_entry_has_size_and_time(self, backend, folder):
        backend.write(f"{folder}/file", "12345")
        (entry,) = backend.ls(folder).entries
        assert entry["size"] == 5
        assert not entry["is_dir"]
        assert entry["modified_at"].startswith("20")

    def test_a_large_directory_is_listed_whole(self, backend, folder):
        backend.execute(f"cd '{folder}' && seq 1 12000 | xargs touch")
        assert len(backend.ls(folder).entries) == 12_000

    def test_pages_say_where_they_are_and_where_to_go_on(self, backend, folder):
        backend.write(f"{folder}/file", "a\nb\nc\n")
        first = backend.read(f"{folder}/file", 0, 2)
        assert first.file_data["content"] == "a\nb"
        assert (first.start_line, first.end_line, first.total_lines) == (1, 2, 3)
        assert first.next_offset == 2
        last = backend.read(f"{folder}/file", 2, 2)
        assert (last.file_data["content"], last.next_offset) == ("c", None)

    def test_blank_lines_at_the_end_are_lines(self, backend, folder):
        backend.write(f"{folder}/file", "a\n\n\n")
        result = backend.read(f"{folder}/file")
        assert (result.file_data["content"], result.end_line) == ("a\n\n", 3)

    def test_a_page_ends_at_a_line_when_it_would_be_too_large(self, backend, folder):
        backend.write(f"{folder}/file", "".join(f"{n:0>1000}\n" for n in range(2000)))
        first = backend.read(f"{folder}/file")
        assert 400_000 < len(first.file_data["content"]) < 513_000
        assert "truncated due to size limits" in first.file_data["content"]
        second = backend.read(f"{folder}/file", first.next_offset, 1)
        assert second.file_data["content"] == f"{first.end_line:0>1000}"

    def test_one_line_that_is_too_long_does_not_stop_the_reader(self, backend, folder):
        backend.write(f"{folder}/file", "x" * 2_000_000 + "\nend\n")
        first = backend.read(f"{folder}/file")
        assert (first.end_line, first.next_offset) == (1, 1)
        assert backend.read(f"{folder}/file", 1).file_data["content"] == "end"

    @pytest.mark.parametrize(("offset", "limit"), [(-5, 1), (0, 1)])
    def test_a_window_before_the_file_begins_with_it(self, backend, folder, offset, limit):
        backend.write(f"{folder}/file", "a\nb\n")
        assert backend.read(f"{folder}/file", offset, limit).file_data["content"] == "a"

    def test_no_lines_wanted_is_no_error_except_of_no_file(self, backend, folder):
        backend.write(f"{folder}/file", "a\n")
        assert backend.read(f"{folder}/file", 0, 0).no_lines_requested
        assert "file_not_found" in str(backend.read(f"{folder}/none", 0, 0).error)

    def test_bytes_that_are_no_text_come_as_base64(self, backend, folder):
        backend.upload_files([(f"{folder}/file", b"text\n\xff\n")])
        data = backend.read(f"{folder}/file").file_data
        assert data["encoding"] == "base64"
        assert base64.b64decode(data["content"]) == b"text\n\xff\n"

    def test_an_edit_written_with_lf_finds_crlf_and_keeps_it(self, backend, folder):
        backend.upload_files([(f"{folder}/file", b"one\r\ntwo\r\nthree\r\n")])
        assert backend.read(f"{folder}/file").file_data["content"] == "one\ntwo\nthree"
        result = backend.edit(f"{folder}/file", "one\ntwo", "1\n2")
        assert (result.error, result.occurrences) == (None, 1)
        assert backend.download_files([f"{folder}/file"])[0].content == b"1\r\n2\r\nthree\r\n"

    def test_an_empty_old_text_is_refused(self, backend, folder):
        backend.write(f"{folder}/file", "a")
        assert "cannot be empty" in str(backend.edit(f"{folder}/file", "", "b").error)

    def test_a_deletion_takes_a_directory_whole_and_a_link_alone(self, backend, folder):
        backend.write(f"{folder}/target/file", "kept")
        backend.execute(f"cd '{folder}' && mkdir -p tree/deep && ln -s ../target tree/link")
        assert backend.delete(f"{folder}/tree").path == f"{folder}/tree"
        backend.execute(f"ln -s /etc/passwd '{folder}/out'")
        assert backend.delete(f"{folder}/out").error is None
        assert [entry["path"] for entry in backend.ls(folder).entries] == [f"{folder}/target"]


class TestFaces:
    async def test_a_sync_call_in_its_own_loop_says_what_to_do(self, server):
        async with RemoteSandboxes(server.url, KEY) as sandboxes:
            backend = DeepAgentsSandbox(ThreadSandbox(sandboxes, "own-loop"))
            with pytest.raises(RuntimeError, match="await the async method"):
                backend.execute("true")

    async def test_sync_calls_of_other_threads_go_to_the_home_loop(self, server):
        async with RemoteSandboxes(server.url, KEY) as sandboxes:
            thread = ThreadSandbox(sandboxes, "other-threads")
            backend = DeepAgentsSandbox(thread)
            assert (await backend.aexecute("echo a")).output == "a\n"
            assert (await asyncio.to_thread(backend.execute, "echo b")).output == "b\n"
            await thread.release()

    async def test_an_awaited_call_that_is_cancelled_ends_its_command(self, new_thread):
        backend = DeepAgentsSandbox(new_thread())
        command = "touch begun; sleep 300; touch ended"
        running = asyncio.create_task(backend.aexecute(command, timeout=600))
        async with asyncio.timeout(60):
            while (await backend.aexecute("ls")).output != "begun\n":
                await asyncio.sleep(0.05)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        probe = "ls; while pgrep -x sleep >/dev/null; do :; done"
        assert (await backend.aexecute(probe)).output == "begun\n"

    def test_the_id_stays_when_the_sandbox_is_replaced(self, new_thread, sandboxes):
        thread = new_thread()
        backend = DeepAgentsSandbox(thread)
        before = backend.id
        backend.execute("true")
        sandboxes.release(thread_id=thread.thread_id)
        assert "a new one with an empty workspace" in backend.execute("true").output
        assert backend.execute("true").exit_code == 0
        assert backend.id == before == thread.thread_id
