"""What workers answer of managed processes: typed and bounded, as their other answers are."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Base64Bytes, Field

from oneseek_sandbox.workers.replies import Answer, Count, Reason

__all__ = [
    "Attached",
    "Begun",
    "InputTaken",
    "LogEvent",
    "LogGap",
    "LogRange",
    "Process",
    "ProcessList",
    "Signalled",
    "WindowSize",
]

_RequestId = Annotated[str, Field(min_length=1, max_length=128)]
_Time = Annotated[int, Field(ge=0, le=2**52)]


class Begun(Answer):
    """A process runs in the background."""

    pid: Count
    started_ms: _Time


class LogRange(Answer):
    """Which part of a log is kept."""

    first_offset: Count
    next_offset: Count


class WindowSize(Answer):
    """The size of a terminal."""

    columns: Count
    rows: Count


class Process(Answer):
    """A process as its worker knows it."""

    request_id: _RequestId
    command: Annotated[str, Field(max_length=200)]
    state: Literal["running", "exited"]
    pid: Count
    started_ms: _Time
    ended_ms: _Time | None
    exit_code: Annotated[int, Field(ge=-1, le=255)] | None
    killed_by: Reason | None
    deadline_ms: _Time | None
    leftover: bool
    terminal: WindowSize | None = None
    stdin_open: bool
    stdin_offset: Count
    log: LogRange


class ProcessList(Answer):
    """Processes by their starts; `cursor` goes on after the last."""

    processes: Annotated[list[Process], Field(max_length=1000)]
    cursor: Count | None


class LogGap(Answer):
    """Bytes that are not kept."""

    start: Annotated[Count, Field(validation_alias="from")]
    end: Annotated[Count, Field(validation_alias="to")]


class LogEvent(Answer):
    """Output, or a gap in it."""

    stdout: Base64Bytes | None = None
    stderr: Base64Bytes | None = None
    gap: LogGap | None = None


class Attached(Answer):
    """Output from a position on, and the process as it is then."""

    events: Annotated[list[LogEvent], Field(max_length=4000)]
    next_offset: Count
    process: Process


class InputTaken(Answer):
    """How much input a process was given, and how much of it it has not read."""

    stdin_offset: Count
    pending: Count


class Signalled(Answer):
    """How many processes a signal reached."""

    delivered: Count
    state: Literal["running", "exited"]
