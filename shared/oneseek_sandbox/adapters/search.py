"""What the verbs have no operation for: a program of ours looks for it inside the sandbox."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Literal

from oneseek_sandbox.adapters.inside import check_done, no_answer, program
from oneseek_sandbox.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from oneseek_sandbox.client.thread import ThreadSandbox
    from oneseek_sandbox.models.answers import ExecuteAnswer

__all__ = ["SearchRefused", "SearchRequest", "Searched", "run_search"]

_COMMAND: Final = program("search")
_GRACE_SECONDS: Final = 20


class SearchRefused(Exception):  # noqa: N818 - an answer rather than a fault
    """Raised when nothing was searched or deleted.

    Attributes:
        reason: `unreadable` when nothing was found in what could be read; `file_not_found`, `not_a_directory`, `permission_denied`, `invalid_path`,
            `is_workspace`, `pattern_too_broad`, or `invalid_pattern` and what is wrong with it.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class SearchRequest:
    """What to do inside.

    Attributes:
        path: Absolute; as the verbs take it.
        anywhere: It may lie, and links may lead, beside the workspace; but nothing is looked for in
            what the kernel makes up.
        glob: Which names; for grep in which files, all when empty.
        pattern: For grep: literal text, of which each line counts, or a regular expression.
        dots: Wildcards fit names that begin with a dot, too.
        ignore: Patterns of names; directories of such names are not entered.
        ignore_files: `ignore` holds for files as well.
        max_results: One more than that is not looked for, but noticed.
        max_bytes: Of the whole answer.
        max_file_bytes: Larger files are not searched; 0: all are.
        max_line: Characters; longer lines are cut.
        seconds: What is found by then is the answer.
    """

    do: Literal["glob", "grep", "delete"]
    path: str
    workspace: str = "/workspace"
    anywhere: bool = False
    glob: str = ""
    pattern: str = ""
    regex: bool = False
    ignore_case: bool = False
    dots: bool = False
    include_dirs: bool = False
    ignore: tuple[str, ...] = ()
    ignore_files: bool = False
    max_results: int = 10_000
    max_bytes: int = 400_000
    max_file_bytes: int = 0
    max_line: int = 10_000
    seconds: float = 10


@dataclass(frozen=True)
class Searched:
    """What was found.

    Attributes:
        results: Of glob: path and whether it is a directory; of grep: path, line number, text.
        cut: Empty when that is all; `budget` when a limit ended it, `unreadable` when there was
            something that could not be read.
    """

    results: list[list[Any]]
    cut: Literal["", "budget", "unreadable"]


async def run_search(thread: ThreadSandbox, request: SearchRequest) -> Searched:
    """Do it.

    Raises:
        SearchRefused: Nothing was done.
        SandboxError: As any call of the sandbox.
    """
    ended = await _ended(thread, request)
    if ended.stdout_truncated:
        # The server keeps less output than usual: what it kept shows how much.
        ended = await _ended(thread, replace(request, max_bytes=len(ended.stdout) // 2))
    if ended.stdout_truncated:
        raise SandboxUnavailableError(
            f"The {request.do} in the sandbox printed more than it was asked for. Is its python3 the "
            "image's own?"
        )
    try:
        searched = _searched(json.loads(ended.stdout), request)
    except (ValueError, TypeError, KeyError, RecursionError):
        raise no_answer(request.do) from None
    if searched.cut == "unreadable" and not searched.results:
        raise SearchRefused("unreadable")  # not the same as that there is none
    return searched


async def _ended(thread: ThreadSandbox, request: SearchRequest) -> ExecuteAnswer:
    ended = await thread.execute(
        _COMMAND,
        stdin=json.dumps(asdict(request)),
        timeout_seconds=request.seconds + _GRACE_SECONDS,
    )
    check_done(ended, request.do, if_killed="; take a narrower path")
    return ended


def _searched(answer: Any, request: SearchRequest) -> Searched:  # noqa: ANN401 - a sandbox may say anything
    """Read an answer.

    Raises:
        SearchRefused: It says so.
        ValueError, TypeError, KeyError: It is none.
    """
    error, results, cut = answer["error"], answer["results"], answer["cut"]
    if error is not None and _is_text(error):
        raise SearchRefused(error)
    is_row = _IS_ROW[request.do]
    if (
        error is not None
        or cut not in ("", "budget", "unreadable")
        or not isinstance(results, list)
        or len(results) > request.max_results
        or not all(is_row(row, request) for row in results)
    ):
        raise ValueError("not an answer")
    return Searched(results, cut)


def _is_text(value: object) -> bool:
    """Tell whether it is a text that can be written; JSON may have halves of characters."""
    return isinstance(value, str) and not any("\ud800" <= c <= "\udfff" for c in value)


def _is_name(row: object, _: SearchRequest) -> bool:
    return isinstance(row, list) and len(row) == 2 and _is_text(row[0]) and isinstance(row[1], bool)


def _is_line(row: object, request: SearchRequest) -> bool:
    return (
        isinstance(row, list)
        and len(row) == 3
        and _is_text(row[0])
        and type(row[1]) is int
        and row[1] > 0
        and _is_text(row[2])
        and len(row[2]) <= request.max_line
    )


def _is_path(row: object, _: SearchRequest) -> bool:
    return _is_text(row)


_IS_ROW: Final = {"glob": _is_name, "grep": _is_line, "delete": _is_path}
