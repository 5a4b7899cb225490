"""What a sandbox's python3 prints for an answer: its code may have put another in its place."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from oneseek_sandbox.adapters.search import SearchRefused, SearchRequest, run_search
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.models.answers import ExecuteAnswer

GLOB = SearchRequest("glob", "/workspace", glob="*", max_results=2)
GREP = SearchRequest("grep", "/workspace", pattern="x", max_results=2, max_line=10)
DELETE = SearchRequest("delete", "/workspace/file")
ENDED = ExecuteAnswer(
    exit_code=0,
    stdout="",
    stderr="",
    timed_out=False,
    killed_by=None,
    stdout_truncated=False,
    stderr_truncated=False,
    stdout_bytes=0,
    stderr_bytes=0,
    invalid_utf8=False,
    duration_ms=1,
    background=False,
)


class Printing:
    """A thread's sandbox in which the program prints this, and which keeps all or half of it."""

    def __init__(self, *texts, truncated=0):
        self.requests = []
        self._texts = texts
        self._truncated = truncated

    async def execute(self, command, *, stdin, timeout_seconds):
        self.requests.append(json.loads(stdin))
        count = len(self.requests)
        text = self._texts[min(count, len(self._texts)) - 1]
        is_cut = count <= self._truncated
        return ENDED.model_copy(update={"stdout": text, "stdout_truncated": is_cut})


def answer(results, *, error=None, cut=""):
    return json.dumps({"error": error, "results": results, "cut": cut})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[" * 100_000,
        '{"error": null, "results": [["/workspace/a", ' + "9" * 5000 + ']], "cut": ""}',
        "null",
        "[]",
        "{}",
        '{"error": null, "results": []}',
        '{"results": [], "cut": ""}',
        answer(None),
        answer({}),
        answer([], error=1),
        answer([], error=["file_not_found"]),
        answer([], error="\ud800"),
        answer([], cut="other"),
        answer([], cut=None),
        answer([], cut=[]),
        answer(["/workspace/a"]),
        answer([["/workspace/a"]]),
        answer([["/workspace/a", 1]]),
        answer([["/workspace/a", False, 1]]),
        answer([[1, False]]),
        answer([["/workspace/\ud800", False]]),
        answer([["/workspace/a", False]] * 3),
    ],
)
async def test_what_is_no_answer_of_a_glob_is_an_error_of_the_sandbox(text):
    with pytest.raises(SandboxError, match="not an answer"):
        await run_search(Printing(text), GLOB)


@pytest.mark.parametrize(
    "row",
    [
        ["/workspace/a", 1],
        ["/workspace/a", "1", "x"],
        ["/workspace/a", True, "x"],
        ["/workspace/a", 1.0, "x"],
        ["/workspace/a", 0, "x"],
        ["/workspace/a", 1, None],
        ["/workspace/a", 1, "x" * 11],
        [None, 1, "x"],
        {"path": "/workspace/a"},
    ],
)
async def test_a_row_that_is_none_of_a_grep_is_an_error_of_the_sandbox(row):
    with pytest.raises(SandboxError, match="not an answer"):
        await run_search(Printing(answer([row])), GREP)


async def test_good_answers_are_taken():
    files = [["/workspace/a", False], ["/workspace/b", True]]
    assert (await run_search(Printing(answer(files)), GLOB)).results == files
    lines = [["/workspace/a", 1, "x" * 10]]
    found = await run_search(Printing(answer(lines, cut="unreadable")), GREP)
    assert (found.results, found.cut) == (lines, "unreadable")
    assert (await run_search(Printing(answer([DELETE.path])), DELETE)).cut == ""
    with pytest.raises(SearchRefused, match="file_not_found"):
        await run_search(Printing(answer([], error="file_not_found")), GLOB)


async def test_a_cut_answer_is_asked_for_again_with_half_of_what_was_kept():
    thread = Printing("x" * 1000, answer([["/workspace/a", False]], cut="budget"), truncated=1)
    assert (await run_search(thread, GLOB)).cut == "budget"
    assert [request["max_bytes"] for request in thread.requests] == [GLOB.max_bytes, 500]


async def test_one_that_is_cut_however_little_was_asked_for_is_given_up():
    thread = Printing("x" * 1000, truncated=10_000)
    with pytest.raises(SandboxError, match="more than it was asked for"):
        await run_search(thread, replace(GLOB, do="grep"))
    assert len(thread.requests) == 2
