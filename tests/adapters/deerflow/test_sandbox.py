"""DeerFlow's sandbox, as its tools use it."""

from __future__ import annotations

import re

import pytest
from deerflow.sandbox.search import GrepMatch
from tests.adapters.deerflow.conftest import HOME

from oneseek_sandbox.adapters.deerflow_paths import VirtualPaths


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
