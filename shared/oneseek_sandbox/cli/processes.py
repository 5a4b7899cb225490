"""`ps`, `logs`, `attach` and `signal`: processes that run in the background of a sandbox."""

from __future__ import annotations

import base64
import os
import sys
import threading
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.options import (
    AsJson,
    Key,
    Sandbox,
    Scope,
    Server,
    Thread,
    connect,
    sandbox_reference,
)
from oneseek_sandbox.cli.terminal import human_age, note, print_json, print_line, print_table
from oneseek_sandbox.cli.typing_ahead import give
from oneseek_sandbox.output import without_control_characters

if TYPE_CHECKING:
    from oneseek_sandbox.cli.connection import Connection

__all__ = ["Raw", "RequestId", "attach", "logs", "ps", "signal"]

_WAIT_SECONDS: Final = 20
_INPUT_BYTES: Final = 65_536
_ENDED_STATUS: Final = 125
_CTRL_D: Final = {"data": "\x04"}

RequestId = Annotated[str, typer.Argument(metavar="REQUEST_ID", help="As printed by ps.")]
Raw = Annotated[
    bool,
    typer.Option(
        "--raw",
        help="Print control characters to a terminal as they are; what runs may be hostile.",
    ),
]


def ps(
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """List the processes of a sandbox that have a request_id."""
    connection, fields = connect(server, key), {**sandbox_reference(thread, scope, sandbox)}
    found: list[dict[str, Any]] = []
    while True:
        answer = connection.call("processes", fields)
        found += answer["processes"]
        if answer["cursor"] is None:
            break
        fields["cursor"] = answer["cursor"]
    if as_json:
        print_json({"processes": found})
    elif found:
        print_table(
            ["request_id", "state", "pid", "started", "exit", "command"], list(map(_row, found))
        )


def _row(process: dict[str, Any]) -> list[str]:
    ended = process["killed_by"] or process["exit_code"]
    started = process["started_at"]
    return [
        process["request_id"],
        process["state"] + (" (leftover)" if process["leftover"] else ""),
        str(process["pid"]),
        human_age(started) if started else "",
        "" if ended is None else str(ended),
        process["command"] or "",
    ]


def logs(
    request_id: RequestId,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on until the process has ended.")
    ] = False,
    offset: Annotated[
        int, typer.Option(min=0, metavar="N", help="Begin at this byte of its output.")
    ] = 0,
    raw: Raw = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Print what a process has printed, its stderr to stderr."""
    reading = _Reading(
        connect(server, key), request_id, sandbox_reference(thread, scope, sandbox), raw=raw
    )
    reading.offset = offset
    while not reading.print_more(_WAIT_SECONDS if follow else 0) and (follow or reading.has_more):
        pass


def attach(
    request_id: RequestId,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    raw: Raw = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Print what a process prints from now on, and give it this program's stdin.

    Ends with its exit code. Interrupting it leaves the process alone.
    """
    connection, reference = connect(server, key), sandbox_reference(thread, scope, sandbox)
    named = {**reference, "request_id": request_id}
    process = connection.call("processes", named)["processes"][0]
    reading = _Reading(connection, request_id, reference, raw=raw)
    if process["log"] is not None:
        reading.offset = process["log"]["next_offset"]
    if process["stdin_open"]:
        end = {"close": True} if process["terminal"] is None else _CTRL_D
        giving = (connection, named, process["stdin_offset"], end)
        threading.Thread(target=_give_stdin, args=giving, daemon=True).start()
    try:
        while not (process := reading.print_more(_WAIT_SECONDS)):
            pass
    except KeyboardInterrupt:
        note(f"left; {request_id} runs on")
        raise typer.Exit(130) from None
    status = process["exit_code"]
    raise typer.Exit(_ENDED_STATUS if status is None else status)


def signal(
    request_id: RequestId,
    name: Annotated[
        str,
        typer.Argument(metavar="SIGNAL", help="TERM, INT, HUP, QUIT, USR1, USR2, KILL, STOP, CONT"),
    ] = "TERM",
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    main: Annotated[
        bool, typer.Option("--main", help="Not to what the process has started.")
    ] = False,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Send a signal to a process and what it has started."""
    reference = sandbox_reference(thread, scope, sandbox)
    wanted = {"request_id": request_id, "signal": name.upper().removeprefix("SIG")}
    fields = {**reference, **wanted, "to": "main" if main else "all"}
    answer = connect(server, key).call("signal", fields)
    if as_json:
        print_json(answer)
    else:
        print_line(f"sent to {answer['delivered']}")


class _Reading:
    """Prints the output of a process, answer by answer.

    Attributes:
        offset: Where to go on.
        has_more: There was more than the last answer had.
    """

    def __init__(
        self, connection: Connection, request_id: str, reference: dict[str, str], *, raw: bool
    ) -> None:
        self._connection = connection
        self._named = {**reference, "request_id": request_id, "encoding": "base64"}
        self._raw = raw
        self.offset = 0
        self.has_more = False

    def print_more(self, seconds: int) -> dict[str, Any] | None:
        """Print what there is, or comes within so many seconds; returns a process that has ended."""
        asked = {**self._named, "offset": self.offset, "wait_seconds": seconds}
        answer = self._connection.call("attach", asked)
        for event in answer["events"]:
            if event["type"] == "gap":
                note(f"{event['to'] - event['from']} bytes are not kept any more")
            else:
                self._print(event["type"], base64.b64decode(event["text"]))
        self.offset = answer["next_offset"]
        process: dict[str, Any] = answer["process"]
        self.has_more = self.offset < process["log"]["next_offset"]
        return None if process["state"] == "running" or self.has_more else process

    def _print(self, stream: str, data: bytes) -> None:
        target = sys.stdout if stream == "stdout" else sys.stderr
        target.flush()
        if target.isatty() and not self._raw:
            data = without_control_characters(data.decode(errors="backslashreplace")).encode()
        target.buffer.write(data)
        target.buffer.flush()


def _give_stdin(
    connection: Connection, named: dict[str, str], offset: int, end: dict[str, Any]
) -> None:
    """Give this program's stdin to a process as it comes, and its end."""
    try:
        while data := os.read(sys.stdin.fileno(), _INPUT_BYTES):
            offset = give(connection, named, data, offset)
        connection.call("input", {**named, "offset": offset, **end})
    except CommandLineError as error:
        # That it has ended is told by what reads its output.
        if error.code not in ("process_ended", "stdin_closed"):
            note(error.message)
