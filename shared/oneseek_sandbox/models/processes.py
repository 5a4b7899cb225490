"""Managed processes: what is asked of them, and what is answered. Positions count bytes."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from oneseek_sandbox.models.answers import Answer
from oneseek_sandbox.models.fields import Encoding, RequestId, WindowSize
from oneseek_sandbox.models.requests import SandboxReference

__all__ = [
    "MAX_WAIT_SECONDS",
    "AttachAnswer",
    "AttachRequest",
    "GapEvent",
    "InputAnswer",
    "InputRequest",
    "InputTarget",
    "LogAnswer",
    "OutputEvent",
    "ProcessAnswer",
    "ProcessState",
    "ProcessesAnswer",
    "ProcessesRequest",
    "SignalAnswer",
    "SignalRequest",
    "StartedAnswer",
    "TerminalAnswer",
]

MAX_WAIT_SECONDS = 540
ProcessState = Literal["running", "exited", "lost"]


class ProcessesRequest(SandboxReference):
    """List the processes of a sandbox that have a `request_id`.

    Attributes:
        request_id: Only this one; 404 if there is none.
        state: Only those in this state.
        limit: Processes per response, 1 to 1000.
        cursor: From the previous response, if it has one.
    """

    request_id: RequestId | None = None
    state: ProcessState | None = None
    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,15}$")] | None = None


class AttachRequest(SandboxReference):
    """Read what a process prints, from any position on.

    Attributes:
        request_id: Of the process.
        offset: Position of the first byte to read, or `end` for what is printed from now on.
        wait_seconds: 0 to 540: how long to wait for output or the end. Default: 0, and 60 for a
            stream.
        max_bytes: Output per response, 1 to 262144; of a stream, at a time.
        encoding: Encoding of the output, as of `execute`. Of a terminal `base64` only.
    """

    request_id: RequestId
    offset: Annotated[int, Field(ge=0, le=2**62)] | Literal["end"] = 0
    wait_seconds: Annotated[float, Field(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False)] | None = (
        None
    )
    max_bytes: Annotated[int, Field(ge=1, le=262_144)] = 262_144
    encoding: Encoding = "utf-8"


class InputTarget(SandboxReference):
    """Where input goes: all fields of an input except its data.

    Attributes:
        request_id: Of the process, which was started with `stdin_open`.
        offset: Position of the first byte of `data` in all input of the process.
        close: Close the process's standard input after `data`. A terminal's cannot be closed: send
            Ctrl-D.
    """

    request_id: RequestId
    offset: Annotated[int, Field(ge=0, le=2**62)]
    close: bool = False


class InputRequest(InputTarget):
    """Write to a process's standard input; what is sent twice is taken once.

    Attributes:
        data: Text, or binary content in base64.
        encoding: Encoding of `data`.
        resize: The new size of the process's terminal. Without data, any `offset` that is not
            ahead will do, like 0.
    """

    data: str = ""
    encoding: Encoding = "utf-8"
    resize: WindowSize | None = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if not self.data and not self.close and self.resize is None:
            raise ValueError("give data, close or resize")
        return self


class SignalRequest(SandboxReference):
    """Send a signal to a process.

    Attributes:
        request_id: Of the process.
        signal: Its name without SIG.
        to: `all` for the process and everything that it has started, `main` for it alone,
            `foreground` for what has its terminal, as Ctrl-C does.
    """

    request_id: RequestId
    signal: Literal["TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "KILL", "STOP", "CONT"]
    to: Literal["all", "main", "foreground"] = "all"


class StartedAnswer(Answer):
    """A process runs in the background.

    Attributes:
        pid: Its number in the sandbox.
        log_offset: Position of its first output.
    """

    request_id: str
    sandbox_id: str
    pid: int
    started_at: datetime
    log_offset: int = 0


class LogAnswer(Answer):
    """Which positions of a log are kept: the first of them, and the next to come."""

    first_offset: int
    next_offset: int


class TerminalAnswer(Answer):
    """The size of a terminal, as it was set last."""

    columns: int
    rows: int


class ProcessAnswer(Answer):
    """A process with a `request_id`.

    Attributes:
        command: Its first 200 bytes.
        state: `lost`: the sandbox was restarted since, and the process is gone.
        ended_at: When it ended; null while it runs.
        exit_code: As of `execute`; null unless it has exited.
        killed_by: As of `execute`.
        deadline_at: When its time limit ends it; null for none.
        leftover: It has exited, and processes that it has started were still running.
        terminal: The size of its terminal; null when it has none.
        stdin_open: Its standard input takes data.
        stdin_offset: How many bytes of input it was given.
        log: Which part of its output is kept.
    """

    request_id: str
    command: str | None = None
    state: ProcessState
    pid: int | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    exit_code: int | None = None
    killed_by: str | None = None
    deadline_at: datetime | None = None
    leftover: bool = False
    terminal: TerminalAnswer | None = None
    stdin_open: bool = False
    stdin_offset: int = 0
    log: LogAnswer | None = None


class ProcessesAnswer(Answer):
    """Processes in the order of their starts; `cursor` goes on after the last of them."""

    processes: list[ProcessAnswer]
    cursor: str | None = None


class OutputEvent(Answer):
    """Some output of one stream, in the encoding that was asked for."""

    type: Literal["stdout", "stderr"]
    text: str


class GapEvent(Answer):
    """Output that is not kept any more: the positions from the first to before the last."""

    model_config = ConfigDict(populate_by_name=True)

    type: Literal["gap"] = "gap"
    start: Annotated[int, Field(alias="from")]
    end: Annotated[int, Field(alias="to")]


class AttachAnswer(Answer):
    """Output of a process, and the process as it is after it.

    Attributes:
        next_offset: Where to go on. When the process has ended and this is its log's
            `next_offset`, that was all.
    """

    events: list[OutputEvent | GapEvent]
    next_offset: int
    process: ProcessAnswer

    @property
    def is_over(self) -> bool:
        """Whether the process has ended and all of its output was read."""
        log = self.process.log
        return self.process.state != "running" and (
            log is None or self.next_offset >= log.next_offset
        )


class InputAnswer(Answer):
    """How much input a process was given, and how many bytes of it it has not read yet."""

    stdin_offset: int
    pending: int


class SignalAnswer(Answer):
    """How many processes the signal reached, and the state of the process before it."""

    delivered: int
    state: ProcessState
