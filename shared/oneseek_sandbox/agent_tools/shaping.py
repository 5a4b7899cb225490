"""Answers as text for a context window: bounded, and saying what was cut and how to see it. Pure.

Remarks of the tools stand in square brackets. Programs do not read these texts; they have the
answer itself.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.output import joined, printable

if TYPE_CHECKING:
    from oneseek_sandbox.agent_tools.answers import WaitAnswer
    from oneseek_sandbox.agent_tools.arguments import ReadFileArguments
    from oneseek_sandbox.models import (
        ExecuteAnswer,
        LsAnswer,
        ReadFileAnswer,
        ReplaceAnswer,
        WriteFileAnswer,
    )

__all__ = [
    "directory",
    "executed",
    "fitting_entries",
    "image",
    "read",
    "replaced",
    "waited",
    "written",
]

_LINES: Final = re.compile(r"[^\n]*\n|[^\n]+")
_TO_SEE_IT: Final = (
    "run the command again with '> /workspace/output.log 2>&1' and read that file in parts."
)
_STDERR: Final = "--- stderr ---"
_SUFFIX: Final = {"directory": "/", "symlink": "@", "other": "?"}


def executed(answer: ExecuteAnswer, most: int) -> str:
    """Show how a command ended; `most` bytes of its output are shown, of both streams together."""
    return "\n".join([_status(answer), *_output(answer, most, nothing="(no output)")])


def waited(answer: WaitAnswer, most: int, *, goes_on: bool) -> str:
    """Show a command that was or is still running, and `most` bytes of what is new of its output.

    Args:
        goes_on: Some of its output was told before.
    """
    lasting = f"still running{_seconds(answer.duration_ms, 0)}, request_id: {answer.request_id}"
    parts = [lasting if answer.still_running else _status(answer)]
    if answer.output_is_known:
        nothing = "(no new output)" if goes_on else "(no output)"
        parts += _output(answer, most, nothing=nothing, left_out=answer.left_out_bytes)
    if answer.still_running:
        unread = "" if answer.output_is_known else "Its output cannot be read yet. "
        parts.append(
            f"[{unread}Call sandbox_wait with this request_id to continue, or with stop=true to "
            "kill it.]"
        )
    elif goes_on:
        parts.append("[Output since the previous result.]")
    return "\n".join(parts)


def _output(
    answer: ExecuteAnswer | WaitAnswer, most: int, *, nothing: str, left_out: int = 0
) -> list[str]:
    """Show what was printed, and what is to be said of it.

    Args:
        left_out: Bytes that are of neither stream for certain.
    """
    parts = []
    stdout, stderr = _shares(answer, most)
    if not stdout and not stderr and not left_out:
        parts.append(nothing)
    if stdout:
        parts.append(stdout.removesuffix("\n"))
    if stderr:
        parts += [_STDERR, stderr.removesuffix("\n")]
    parts += _what_was_left_out(answer, stdout, stderr, left_out)
    if answer.invalid_utf8:
        parts.append(r"[Bytes that are not UTF-8 text are shown as \xNN.]")
    if answer.background:
        parts.append("[Processes that it started are still running in the background.]")
    if answer.hint:
        parts.append(f"[{answer.hint}]")
    return parts


def _what_was_left_out(
    answer: ExecuteAnswer | WaitAnswer, stdout: str, stderr: str, left_out: int
) -> list[str]:
    if left_out:
        return [
            f"[{left_out} bytes of output were left out, of stdout, stderr or both. To see them, "
            f"{_TO_SEE_IT}]"
        ]
    streams = (
        ("stdout", answer.stdout_truncated or stdout != answer.stdout, answer.stdout_bytes),
        ("stderr", answer.stderr_truncated or stderr != answer.stderr, answer.stderr_bytes),
    )
    return [
        f"[The middle of {name} was left out; {printed} bytes were printed. To see it, {_TO_SEE_IT}]"
        for name, cut, printed in streams
        if cut
    ]


def fitting_entries(answer: LsAnswer, most: int) -> int:
    """Return how many of the entries have room in `most` bytes; at least one, if there is one."""
    used, count = 0, 0
    for line in _entry_lines(answer):
        used += _size(line) + 1
        if used > most and count:
            break
        count += 1
    return count


def directory(answer: LsAnswer) -> str:
    """Show a directory, a line for each name."""
    lines = _entry_lines(answer)
    if answer.truncated:
        lines.append(
            f"[Cut after {len(answer.entries)} entries. List a directory further down, or go on "
            f'with the same arguments and cursor="{answer.cursor}".]'
        )
    return "\n".join(lines) or "(empty)"


def read(answer: ReadFileAnswer, wanted: ReadFileArguments, most: int) -> str:
    """Show a file, or the lines of it that were asked for, in at most `most` bytes."""
    first = wanted.start_line or 1
    if answer.encoding == "base64":
        return (
            f"[{printable(answer.path)} is not text: {answer.size} bytes"
            f"{f', sha256 {answer.sha256}' if answer.sha256 else ''}. "
            "Look at it with sandbox_execute, for example with file, strings or xxd.]"
        )
    if answer.size == 0:
        return "(empty)"
    total = answer.total_lines
    if not answer.content if total is None else first > total:
        return f"(no such lines: the file has {'fewer' if total is None else total})"
    lines: list[str] = _LINES.findall(answer.content)
    if answer.truncated and len(lines) > 1 and not lines[-1].endswith("\n"):
        lines.pop()
    whole = _numbered(lines, first) if wanted.line_numbers else lines
    shown = _fitting(whole, most)
    last = first + len(shown) - 1
    text = "".join(shown)
    remark = ""
    if answer.truncated or shown != whole:
        remark = _what_was_cut(answer, shown, first, numbered=wanted.line_numbers)
    elif total is None or first > 1 or last < total:
        remark = f"[Lines {first} to {last}{_of(answer)}.]"
    return text + ("\n" if remark and not text.endswith("\n") else "") + remark


def image(answer: ReadFileAnswer, media_type: str) -> str:
    """Name an image that is shown beside this text."""
    return f"[{printable(answer.path)} is an image: {media_type}, {answer.size} bytes.]"


def written(answer: WriteFileAnswer, *, append: bool) -> str:
    """Say what a write did."""
    path = printable(answer.path)
    if answer.created:
        return f"Created {path}, {answer.size} bytes."
    if append:
        return f"Added to {path}; it has {answer.size} bytes now."
    return f"Replaced all of {path}; it has {answer.size} bytes now."


def replaced(answer: ReplaceAnswer) -> str:
    """Say what a replace did."""
    plural = "" if answer.replacements == 1 else "s"
    return f"Replaced {answer.replacements} occurrence{plural} in {printable(answer.path)}."


def _status(answer: ExecuteAnswer | WaitAnswer) -> str:
    status = f"exit code: {answer.exit_code}"
    if answer.killed_by == "timeout" or answer.timed_out:
        return f"{status} (timed out{_seconds(answer.duration_ms, 1)})"
    if answer.killed_by:
        return f"{status} (killed: {answer.killed_by.replace('_', ' ')})"
    return status


def _seconds(duration_ms: int | None, digits: int) -> str:
    return "" if duration_ms is None else f" after {duration_ms / 1000:.{digits}f} s"


def _shares(answer: ExecuteAnswer | WaitAnswer, most: int) -> tuple[str, str]:
    """Divide the room: each stream has half of it, and what the other one leaves."""
    sizes = _size(answer.stdout), _size(answer.stderr)
    half = most // 2
    room_out = max(half, most - sizes[1])
    room_err = max(half, most - sizes[0])
    return (
        _head_and_tail(answer.stdout, answer.stdout_bytes, room_out),
        _head_and_tail(answer.stderr, answer.stderr_bytes, room_err),
    )


def _head_and_tail(text: str, printed: int, most: int) -> str:
    data = text.encode()
    if len(data) <= most:
        return text
    # What the sandbox left out already was in the middle too, so its line goes with this cut.
    kept = joined(data[: most // 2], data[-(most // 2) :], max(printed, len(data)))
    return kept.decode("utf-8", "backslashreplace")


def _entry_lines(answer: LsAnswer) -> list[str]:
    return [
        f"{printable(entry.path)}  {entry.size}"
        if entry.type == "file"
        else printable(entry.path) + _SUFFIX[entry.type]
        for entry in answer.entries
    ]


def _numbered(lines: list[str], first: int) -> list[str]:
    return [f"{number}\t{line}" for number, line in enumerate(lines, first)]


def _fitting(lines: list[str], most: int) -> list[str]:
    """Return the lines that have room; of the first one its beginning, if it alone has none."""
    used = 0
    for count, line in enumerate(lines):
        used += _size(line)
        if used > most:
            return lines[:count] or [line.encode()[:most].decode("utf-8", "ignore")]
    return lines


def _what_was_cut(answer: ReadFileAnswer, shown: list[str], first: int, *, numbered: bool) -> str:
    if len(shown) == 1 and not shown[0].endswith("\n"):
        size = _size(shown[0]) - (len(f"{first}\t") if numbered else 0)
        return (
            f"[Line {first} is long; its first {size} bytes are shown. See more of it with "
            f"sandbox_execute, for example: sed -n {first}p FILE | cut -b {size + 1}-{2 * size}]"
        )
    last = first + len(shown) - 1
    return (
        f"[Cut: lines {first} to {last}{_of(answer)} are shown. Go on with start_line={last + 1}.]"
    )


def _of(answer: ReadFileAnswer) -> str:
    """Name the number of lines; nobody counts those of a large file."""
    if answer.total_lines is None:
        return f" of a file of {answer.size} bytes"
    return f" of {answer.total_lines}"


def _size(text: str) -> int:
    return len(text.encode())
