"""DeerFlow's sandbox and provider, as its tools use them."""

from __future__ import annotations

import asyncio
import re

import pytest
from deerflow.sandbox.exceptions import SandboxRuntimeError
from deerflow.sandbox.sandbox import Sandbox
from deerflow.sandbox.sandbox_provider import SandboxProvider
from deerflow.sandbox.search import GrepMatch
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.deerflow import DeerFlowSandbox, OneSeekSandboxProvider
from oneseek_sandbox.adapters.deerflow_paths import VirtualPaths
from oneseek_sandbox.client.remote import RemoteSandboxes

HOME = "/mnt/user-data/workspace"


@pytest.fixture(scope="module", params=["/workspace", "/mnt/user-data"])
def place(request, new_server):
    """A server whose workspace is our usual one, and one whose is DeerFlow's."""
    return new_server(key=KEY, settings={"PROVISIONER_WORKSPACE_DIR": request.param})


@pytest.fixture(scope="module")
def provider(place):
    provider = OneSeekSandboxProvider(sandboxes=RemoteSandboxes(place.url, KEY))
    yield provider
    provider.shutdown()


@pytest.fixture(scope="module")
def sandbox(provider):
    return provider.get(provider.acquire("deerflow-tests", user_id="alice"))


@pytest.fixture
def folder(sandbox, request):
    path = f"{HOME}/{request.node.originalname}"
    sandbox.execute_command(f"mkdir -p {path}")
    return path


def test_they_are_what_deerflow_derives_from(provider, sandbox):
    assert isinstance(provider, SandboxProvider)
    assert isinstance(sandbox, Sandbox)
    assert sandbox.persistent_shell_sessions is False


class TestCommands:
    @pytest.mark.parametrize(
        ("command", "output"),
        [
            ("echo out", "out\n"),
            ("true", "(no output)"),
            ("echo err >&2", "err\n"),
            ("echo out; echo err >&2", "out\n\nStd Error:\nerr\n"),
            ("echo out; exit 3", "out\n\nExit Code: 3"),
            ("false", "\nExit Code: 1"),
        ],
    )
    def test_what_a_command_says_is_one_text(self, sandbox, command, output):
        assert sandbox.execute_command(command) == output

    def test_deerflows_own_prefix_works(self, sandbox):
        assert sandbox.execute_command(f"cd {HOME}; pwd").count("\n") == 1

    def test_the_folders_it_tells_models_of_are_there(self, sandbox):
        command = "touch /mnt/user-data/uploads/a /mnt/user-data/outputs/b && ls /mnt/user-data"
        assert {"outputs", "uploads"} <= set(sandbox.execute_command(command).split())

    def test_a_limit_ends_a_command_and_keeps_its_output(self, sandbox):
        output = sandbox.execute_command("echo begun; sleep 60", timeout=1)
        assert output.startswith("begun\n")
        assert output.endswith("Exit Code: 124")

    def test_variables_reach_the_command_and_bad_names_do_not(self, sandbox):
        assert sandbox.execute_command("echo $TOKEN", env={"TOKEN": "t"}) == "t\n"
        with pytest.raises(ValueError, match="not a valid environment variable"):
            sandbox.execute_command("true", env={"A;B": "t"})


class TestFiles:
    def test_a_text_is_written_added_to_and_read_in_parts(self, sandbox, folder):
        sandbox.write_file(f"{folder}/new/file", "one\ntwo\n")
        sandbox.write_file(f"{folder}/new/file", "Error: three\n", append=True)
        assert sandbox.read_file(f"{folder}/new/file") == "one\ntwo\nError: three\n"
        assert sandbox.read_file(f"{folder}/new/file", 2, 2) == "two"
        assert sandbox.read_file(f"{folder}/new/file", start_line=2) == "two\nError: three"
        assert sandbox.read_file(f"{folder}/new/file", 9) == ""

    def test_adding_to_a_file_that_looks_like_an_error_loses_nothing(self, sandbox, folder):
        sandbox.write_file(f"{folder}/log", "Error: it begins so\n")
        sandbox.write_file(f"{folder}/log", "more\n", append=True)
        assert sandbox.read_file(f"{folder}/log") == "Error: it begins so\nmore\n"

    def test_bytes_stay_what_they_are(self, sandbox, folder):
        sandbox.update_file(f"{folder}/data", bytes(range(256)))
        assert sandbox.download_file(f"{folder}/data") == bytes(range(256))
        for lines in ({}, {"start_line": 1}):
            with pytest.raises(UnicodeDecodeError):
                sandbox.read_file(f"{folder}/data", **lines)

    def test_what_is_longer_than_one_answer_is_read_whole(self, sandbox, folder):
        sandbox.write_file(f"{folder}/long", "x" * 3_000_000)
        assert len(sandbox.read_file(f"{folder}/long")) == 3_000_000

    def test_a_listing_goes_two_deep_and_hides_what_nobody_reads(self, sandbox, folder):
        for path in ("b/c/deep", "a", "node_modules/x/y", "debug.log"):
            sandbox.write_file(f"{folder}/{path}", "")
        listed = [f"{folder}/a", f"{folder}/b/", f"{folder}/b/c/"]
        assert sandbox.list_dir(folder) == listed
        assert sandbox.list_dir(folder, max_depth=1) == listed[:2]

    @pytest.mark.parametrize(
        ("path", "kind"),
        [
            (f"{HOME}/none", FileNotFoundError),
            ("/etc/passwd", PermissionError),
            (f"{HOME}/../../etc/passwd", PermissionError),
            ("relative", PermissionError),
            (HOME, IsADirectoryError),
        ],
    )
    def test_errors_are_of_the_class_that_the_tools_know(self, sandbox, path, kind):
        with pytest.raises(kind):
            sandbox.read_file(path)
        with pytest.raises(kind):
            sandbox.download_file(path)

    def test_a_missing_directory_is_no_empty_one(self, sandbox, folder):
        for ask in (sandbox.list_dir, lambda path: sandbox.glob(path, "*")):
            assert ask(folder) in ([], ([], False))
            with pytest.raises(FileNotFoundError):
                ask(f"{folder}/none")
        sandbox.write_file(f"{folder}/file", "")
        with pytest.raises(NotADirectoryError):
            sandbox.glob(f"{folder}/file", "*")
        with pytest.raises(NotADirectoryError):
            sandbox.list_dir(f"{folder}/file")


class TestSearches:
    @pytest.fixture
    def tree(self, sandbox, folder):
        for path in ("top.py", "src/a.py", "src/.b.py", "node_modules/c.py", "out/d.txt"):
            sandbox.write_file(f"{folder}/{path}", f"Needle in {path}\nand more\n")
        return folder

    @pytest.mark.parametrize(
        ("pattern", "expected"),
        [
            ("*.py", ["src/.b.py", "src/a.py", "top.py"]),
            ("src/*.py", ["src/.b.py", "src/a.py"]),
            ("**/*.txt", ["out/d.txt"]),
            ("nothing", []),
        ],
    )
    def test_names_are_found(self, sandbox, tree, pattern, expected):
        found, truncated = sandbox.glob(tree, pattern)
        assert sorted(found) == [f"{tree}/{path}" for path in expected]
        assert not truncated

    def test_directories_are_found_when_they_are_wanted(self, sandbox, tree):
        assert sandbox.glob(tree, "src", include_dirs=True) == ([f"{tree}/src"], False)

    def test_a_cap_is_told_of_only_when_there_was_more(self, sandbox, tree):
        assert sandbox.glob(tree, "*.py", max_results=3)[1] is False
        found, truncated = sandbox.glob(tree, "*.py", max_results=2)
        assert (len(found), truncated) == (2, True)
        found, truncated = sandbox.grep(tree, "needle", max_results=1)
        assert (len(found), truncated) == (1, True)

    def test_lines_are_found_by_expression_in_either_case(self, sandbox, tree):
        found, _ = sandbox.grep(tree, "^needle.*top")
        assert found == [GrepMatch(f"{tree}/top.py", 1, "Needle in top.py")]
        assert sandbox.grep(tree, "^needle", case_sensitive=True) == ([], False)
        assert sandbox.grep(tree, "Needle.*", literal=True) == ([], False)
        assert len(sandbox.grep(tree, "needle", glob="**/*.txt")[0]) == 1
        assert len(sandbox.grep(f"{tree}/top.py", "needle")[0]) == 1

    def test_long_lines_are_cut_and_large_files_left_out(self, sandbox, folder):
        sandbox.write_file(f"{folder}/wide", "needle" + "x" * 1000)
        sandbox.write_file(f"{folder}/large", "needle\n" * 200_000)
        found, _ = sandbox.grep(folder, "needle")
        assert [(match.path, len(match.line)) for match in found] == [(f"{folder}/wide", 200)]
        assert found[0].line.endswith("...")

    def test_what_is_no_expression_is_told_as_such(self, sandbox, folder):
        with pytest.raises(re.error):
            sandbox.grep(folder, "(")
        assert sandbox.grep(folder, "(", literal=True) == ([], False)


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


def test_a_model_writes_runs_reads_the_error_and_fixes(sandbox, folder):
    program, test = f"{folder}/mean.py", f"{folder}/test_mean.py"
    run = f"cd {folder} && python3 -B -m unittest -q test_mean"
    sandbox.write_file(program, "def mean(values):\n    return sum(values) / len(values) + 1\n")
    sandbox.write_file(
        test,
        "import unittest\nfrom mean import mean\n\nclass Mean(unittest.TestCase):\n"
        "    def test_two(self):\n        self.assertEqual(mean([2, 4]), 3)\n",
    )
    failed = sandbox.execute_command(run)
    assert "AssertionError: 4.0 != 3" in failed
    assert "Exit Code: 1" in failed
    # As the tool str_replace does.
    sandbox.write_file(program, sandbox.read_file(program).replace(" + 1", ""))
    assert "Exit Code" not in sandbox.execute_command(run)


@pytest.mark.parametrize(
    ("command", "mapped"),
    [
        ("cat /mnt/user-data/workspace/a", "cat /w/a"),
        ("ls /mnt/user-data/workspace", "ls /w"),
        (
            "cp '/mnt/user-data/uploads/a b' /mnt/user-data/outputs/",
            "cp '/w/uploads/a b' /w/outputs/",
        ),
        ("x --to=/mnt/user-data/outputs;y", "x --to=/w/outputs;y"),
        ("ls /mnt/user-data", "ls /w"),
        ("ls /mnt/user-database /other/mnt/user-data", None),
        ("ls /mnt/user-data/workspace.old", "ls /w/workspace.old"),
    ],
)
def test_paths_in_a_command_are_mapped_whole_or_not_at_all(command, mapped):
    assert VirtualPaths("/w").in_command(command) == (mapped or command)
    assert VirtualPaths("/mnt/user-data").in_command(command) == command
