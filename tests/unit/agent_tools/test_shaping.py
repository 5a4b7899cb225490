"""Answers as a model reads them: nothing too long, and nothing cut in silence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from oneseek_sandbox import models
from oneseek_sandbox.agent_tools import shaping
from oneseek_sandbox.agent_tools.arguments import ReadFileArguments

MOST = 2000
REMARKS = 700


def ended(**fields) -> models.ExecuteAnswer:
    stdout, stderr = fields.get("stdout", ""), fields.get("stderr", "")
    known = {
        "exit_code": 0,
        "stdout": stdout,
        "stderr": stderr,
        "timed_out": False,
        "killed_by": None,
        "stdout_truncated": False,
        "stderr_truncated": False,
        "stdout_bytes": len(stdout.encode()),
        "stderr_bytes": len(stderr.encode()),
        "invalid_utf8": False,
        "duration_ms": 12,
        "background": False,
    }
    return models.ExecuteAnswer(**{**known, **fields})


def file(content, *, total_lines=None, **fields) -> models.ReadFileAnswer:
    lines = content.count("\n") + (not content.endswith("\n")) if content else 0
    known = {
        "path": "/workspace/f",
        "content": content,
        "encoding": "utf-8",
        "size": len(content.encode()),
        "sha256": "0" * 64,
        "total_lines": lines if total_lines is None else total_lines,
        "truncated": False,
    }
    return models.ReadFileAnswer(**{**known, **fields})


def listing(*entries, **fields) -> models.LsAnswer:
    made = [
        models.DirectoryEntry(
            path=path, type=kind, size=size, mode="0644", modified_at=datetime.now(UTC)
        )
        for path, kind, size in entries
    ]
    return models.LsAnswer(**{"entries": made, "truncated": False, "cursor": None, **fields})


def read(answer, most=MOST, **wanted) -> str:
    return shaping.read(answer, ReadFileArguments(path="/workspace/f", **wanted), most)


def test_a_command_shows_its_exit_code_and_its_output():
    assert shaping.executed(ended(stdout="one\ntwo\n"), MOST) == "exit code: 0\none\ntwo"


def test_standard_error_stands_apart():
    text = shaping.executed(ended(exit_code=2, stdout="out\n", stderr="err\n"), MOST)
    assert text == "exit code: 2\nout\n--- stderr ---\nerr"


def test_a_silent_command_says_so():
    assert shaping.executed(ended(), MOST) == "exit code: 0\n(no output)"


def test_a_command_whose_time_was_over_says_so_first_and_what_to_do_last():
    answer = ended(
        exit_code=124, timed_out=True, killed_by="timeout", duration_ms=2004, hint="Give more."
    )
    lines = shaping.executed(answer, MOST).splitlines()
    assert lines[0] == "exit code: 124 (timed out after 2.0 s)"
    assert lines[-1] == "[Give more.]"


def test_a_killed_command_says_by_what():
    text = shaping.executed(ended(exit_code=137, killed_by="out_of_memory"), MOST)
    assert text.startswith("exit code: 137 (killed: out of memory)\n")


def test_background_processes_and_bytes_are_told():
    text = shaping.executed(ended(stdout="\\xff", invalid_utf8=True, background=True), MOST)
    assert "[Bytes that are not UTF-8 text are shown as \\xNN.]" in text
    assert "still running in the background" in text


@pytest.mark.parametrize("sizes", [(9999, 0), (0, 9999), (9999, 9999), (9999, 50), (50, 9999)])
def test_output_of_both_streams_together_is_bounded(sizes):
    out, err = ("ü" * (size // 2) for size in sizes)
    text = shaping.executed(ended(stdout=out, stderr=err), MOST)
    assert len(text.encode()) < MOST + REMARKS
    for name, size in zip(("stdout", "stderr"), sizes, strict=True):
        assert (f"[The middle of {name} was left out" in text) == (size > MOST // 2)


def test_a_short_stream_is_whole_beside_a_long_one():
    text = shaping.executed(ended(stdout="x" * 9999, stderr="the reason"), MOST)
    assert "\n--- stderr ---\nthe reason\n" in text
    assert len(text) > MOST


def test_the_middle_is_left_out_and_counted_and_the_ends_stay():
    text = shaping.executed(ended(stdout="first" + "." * 9000 + "last"), MOST)
    assert "first" in text
    assert "last\n[" in text
    assert "9009 bytes were printed" in text


def test_what_the_sandbox_left_out_is_told_too():
    cut = ended(stdout="a\n[... 5 bytes left out ...]\nb", stdout_truncated=True, stdout_bytes=7)
    assert "7 bytes were printed" in shaping.executed(cut, MOST)


def test_a_directory_is_a_line_for_each_name():
    answer = listing(
        ("/workspace/a\nb", "file", 12),
        ("/workspace/d", "directory", 4096),
        ("/workspace/l", "symlink", 1),
    )
    assert shaping.directory(answer).splitlines() == [
        "/workspace/a\\nb  12",
        "/workspace/d/",
        "/workspace/l@",
    ]


def test_an_empty_directory_says_so():
    assert shaping.directory(listing()) == "(empty)"


def test_a_cut_list_says_how_to_go_on():
    answer = listing(("/workspace/a", "file", 1), truncated=True, cursor="c4")
    assert 'cursor="c4"' in shaping.directory(answer)


def test_entries_that_have_no_room_are_counted_out():
    entries = [(f"/workspace/{'x' * 100}{n}", "file", 1) for n in range(100)]
    count = shaping.fitting_entries(listing(*entries), MOST)
    assert 10 < count < 20
    assert shaping.fitting_entries(listing(*entries), 10) == 1
    assert shaping.fitting_entries(listing(), 10) == 0


@pytest.mark.parametrize("content", ["one\ntwo\n", "no newline", "\n", "a\r\nb\x0bc\u2028d\n"])
def test_a_file_is_shown_as_it_is(content):
    assert read(file(content)) == content


def test_an_empty_file_says_so():
    assert read(file("")) == "(empty)"


def test_lines_that_are_not_there_are_told():
    beyond = file("", size=9, total_lines=3)
    assert read(beyond, start_line=7) == "(no such lines: the file has 3)"


def test_a_part_says_which_lines_it_is():
    part = file("two\nthree\n", total_lines=9)
    assert read(part, start_line=2, end_line=3) == "two\nthree\n[Lines 2 to 3 of 9.]"


def test_line_numbers_are_the_files():
    part = file("two\nthree", total_lines=3)
    assert read(part, start_line=2, line_numbers=True).startswith("2\ttwo\n3\tthree\n[Lines 2 to 3")


@pytest.mark.parametrize("numbered", [False, True])
def test_a_long_file_says_where_to_go_on_and_nothing_is_lost_between(numbered):
    lines = [f"line {n}\n" for n in range(1, 1001)]
    start, seen = 1, []
    for _ in range(50):
        content = "".join(lines[start - 1 :])
        kept = content[:MOST]
        text = read(
            file(kept, total_lines=1000, truncated=len(kept) < len(content)),
            start_line=start,
            line_numbers=numbered,
        )
        assert len(text) < MOST + REMARKS
        seen += [line.split("\t")[-1] for line in text.splitlines() if not line.startswith("[")]
        if "start_line=" not in text:
            break
        start = int(text.rpartition("start_line=")[2].rstrip(".]"))
    assert seen == [line.strip() for line in lines]


@pytest.mark.parametrize("numbered", [False, True])
def test_a_line_that_is_too_long_says_how_to_see_the_rest(numbered):
    text = read(file("ü" * 1000, truncated=True, total_lines=1), line_numbers=numbered)
    shown, _, remark = text.rpartition("\n")
    size = len(shown.split("\t")[-1].encode())
    assert f"cut -b {size + 1}-" in remark
    assert len(shown.encode()) <= MOST


def test_a_binary_file_is_named_and_not_shown():
    text = read(file("AAAA", encoding="base64"))
    assert "is not text: 4 bytes" in text
    assert "AAAA" not in text
