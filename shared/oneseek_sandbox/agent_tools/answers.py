"""What programs get of a command that goes on beyond the call that started it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.models.answers import Answer

if TYPE_CHECKING:
    from oneseek_sandbox.agent_tools.printed import Printed
    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["WaitAnswer", "ended", "in_between"]


class WaitAnswer(Answer):
    r"""A command that was still running when its call was answered, as it is now.

    Attributes:
        still_running: It has not ended: `sandbox_wait` goes on with it.
        exit_code: As of an execute; null while it runs.
        timed_out: As of an execute, like `killed_by`, `background` and `hint`.
        stdout: What it has printed since the last answer, like `stderr`; head and tail of much.
        stdout_truncated: Some of it was omitted, or may have been: see `left_out_bytes`.
        stdout_bytes: How much it was, as far as that is known: without `left_out_bytes`.
        left_out_bytes: What was omitted of both together, where nobody knows of which; with
            `stdout_bytes` and `stderr_bytes` that is all since the last answer.
        invalid_utf8: Bytes that are not valid UTF-8 are shown as `\\xNN`.
        output_is_known: False while what it has printed cannot be read; it is told later.
        next_offset: Position in all of its output after what is told here.
        duration_ms: How long it has run; null if that is not known.
    """

    still_running: bool
    request_id: str
    exit_code: int | None = None
    timed_out: bool = False
    killed_by: str | None = None
    stdout: str = ""
    stderr: str = ""
    stdout_truncated: bool = False
    stderr_truncated: bool = False
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    left_out_bytes: int = 0
    invalid_utf8: bool = False
    output_is_known: bool = True
    next_offset: int = 0
    duration_ms: int | None = None
    background: bool = False
    hint: str | None = None


_OF_ITS_END = {"exit_code", "timed_out", "killed_by", "duration_ms", "background", "hint"}
_OF_ITS_OUTPUT = {
    "stdout", "stderr", "stdout_truncated", "stderr_truncated", "stdout_bytes", "stderr_bytes",
    "invalid_utf8",
}  # fmt: skip


def ended(request_id: str, answer: ExecuteAnswer, printed: Printed | None) -> WaitAnswer:
    """Return how a command ended, with what it printed since the last answer.

    Args:
        printed: That; None for all that it has printed.
    """
    if printed is None:
        fields = answer.model_dump(include=_OF_ITS_END | _OF_ITS_OUTPUT)
        after = answer.stdout_bytes + answer.stderr_bytes
    else:
        fields = answer.model_dump(include=_OF_ITS_END) | _output(printed)
        after = printed.next_offset
    return WaitAnswer(still_running=False, request_id=request_id, next_offset=after, **fields)


def in_between(
    request_id: str, printed: Printed | None, told: int, seconds: float | None
) -> WaitAnswer:
    """Return a command as the sandbox's list of processes has it, mostly running.

    Args:
        printed: What is new; None if that cannot be read.
        told: The position after what was told before.
        seconds: How long it has run, where that is known without the list.
    """
    lasted = None if seconds is None else round(1000 * seconds)
    if printed is None:
        return WaitAnswer(
            still_running=True,
            request_id=request_id,
            output_is_known=False,
            next_offset=told,
            duration_ms=lasted,
        )
    process = printed.process
    if lasted is None and process.started_at is not None:
        until = process.ended_at or datetime.now(UTC)
        lasted = max(0, round(1000 * (until - process.started_at).total_seconds()))
    return WaitAnswer(
        still_running=process.state == "running",
        request_id=request_id,
        exit_code=process.exit_code,
        timed_out=process.killed_by == "timeout",
        killed_by=process.killed_by,
        background=process.leftover,
        next_offset=printed.next_offset,
        duration_ms=lasted,
        **_output(printed),
    )


def _output(printed: Printed) -> dict[str, Any]:
    return {name: getattr(printed, name) for name in {*_OF_ITS_OUTPUT, "left_out_bytes"}}
