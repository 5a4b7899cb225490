"""`exec`: run a command in a thread's sandbox as if it ran here."""

from __future__ import annotations

import base64
import os
import select
import stat
import sys
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oneseek_sandbox.cli.failure import EXIT_INCOMPLETE, CommandLineError
from oneseek_sandbox.cli.options import (
    AsJson,
    IdleTimeout,
    Key,
    Sandbox,
    Scope,
    Server,
    Thread,
    connect,
    pairs,
    sandbox_reference,
)
from oneseek_sandbox.cli.terminal import note, note_killed, print_json, print_line

if TYPE_CHECKING:
    from typing import TextIO

    from oneseek_sandbox.cli.connection import Connection

_QUIET_SECONDS: Final = 3.0

__all__ = ["execute", "run_command", "standard_input"]


def execute(
    command: Annotated[
        list[str],
        typer.Argument(
            metavar="COMMAND",
            help="One argument is a shell command line; several run as they are, without a shell.",
        ),
    ],
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    cwd: Annotated[
        str | None, typer.Option(metavar="DIR", help="Working directory (absolute path).")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", min=0.1, help="Time limit of the command; default: 30."),
    ] = None,
    stdin: Annotated[
        str | None,
        typer.Option(
            metavar="FILE",
            help="File for the command's stdin; - for this process's stdin (default: what is piped in).",
        ),
    ] = None,
    no_stdin: Annotated[
        bool, typer.Option("--no-stdin", "-n", help="Do not read this process's stdin.")
    ] = False,
    background: Annotated[
        bool,
        typer.Option(
            "--background", "-b", help="Print its request_id once it runs, and leave it (see ps)."
        ),
    ] = False,
    stdin_open: Annotated[
        bool, typer.Option("--stdin-open", help="With --background: for input by attach.")
    ] = False,
    request_id: Annotated[
        str | None,
        typer.Option("--request-id", metavar="ID", help="Run it at most once under this name."),
    ] = None,
    max_output_bytes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Bytes of stdout and of stderr to print, and the last 64 KiB (default: all).",
        ),
    ] = None,
    idle_timeout: IdleTimeout = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Run a command in a thread's sandbox.

    The sandbox is acquired if need be. The exit code is the command's own, or 74 when some of its
    output is missing. Put `--` before a command that has options.
    """
    fields: dict[str, object] = {
        "command": command[0] if len(command) == 1 else command,
        "cwd": cwd,
        "env": pairs(env, "--env"),
        "timeout_seconds": timeout,
        "max_output_bytes": max_output_bytes,
        "request_id": request_id,
    }
    if stdin_open and not background:
        raise typer.BadParameter("--stdin-open goes with --background")
    if background:
        fields |= {"background": True, "stdin_open": stdin_open}
    reference = sandbox_reference(thread, scope, sandbox)
    connection = connect(server, key)
    if not no_stdin and not stdin_open:
        fields |= standard_input(stdin)
    status = run_command(connection, reference, fields, idle_timeout=idle_timeout, as_json=as_json)
    raise typer.Exit(status)


def run_command(
    connection: Connection,
    reference: dict[str, str],
    fields: dict[str, object],
    *,
    idle_timeout: int | None,
    as_json: bool,
) -> int:
    """Run a command and return its exit code; a thread's sandbox is acquired first.

    With `as_json` the whole answer is printed at the end, not the output as it comes.
    """
    if "thread_id" in reference:
        acquired = connection.call("acquire", reference | {"idle_timeout_seconds": idle_timeout})
        if acquired.get("restarted"):
            note("this sandbox was started again: its files are there, its processes are not")
        reference = {"sandbox_id": acquired["sandbox_id"]}
    request = reference | fields
    if as_json or request.get("background"):
        answer = connection.call("execute", request)
        if as_json:
            print_json(answer)
        else:
            print_line(answer["request_id"])
        return int(answer.get("exit_code", 0))
    whole = request | {"encoding": "base64", "stream_all": request["max_output_bytes"] is None}
    answer, is_complete = _stream(connection, whole)
    _explain(answer)
    return int(answer["exit_code"]) if is_complete else EXIT_INCOMPLETE


def standard_input(source: str | None) -> dict[str, str]:
    """Return the fields for what the command gets on standard input; none when it gets nothing.

    Args:
        source: A file, or `-` for this program's own. Left out, its own where that is a pipe, a
            file or a socket.

    Raises:
        CommandLineError: It cannot be read.
    """
    if source is None and not _is_piped():
        return {}
    try:
        data = _read_own(source == "-") if source in (None, "-") else Path(source).read_bytes()
    except OSError as error:
        raise CommandLineError(f"cannot read {source or 'stdin'}: {error.strerror}") from None
    try:
        return {"stdin": data.decode()}
    except UnicodeDecodeError:
        return {"stdin": base64.b64encode(data).decode(), "stdin_encoding": "base64"}


def _is_piped() -> bool:
    try:
        mode = os.fstat(0).st_mode
    except OSError:
        return False  # closed
    return stat.S_ISFIFO(mode) or stat.S_ISREG(mode) or stat.S_ISSOCK(mode)


def _read_own(was_asked_for: bool) -> bytes:
    """Read this program's standard input to its end, which may be long in coming."""
    if not was_asked_for and not select.select([0], [], [], _QUIET_SECONDS)[0]:
        note("waiting for the end of standard input; --no-stdin runs the command without it")
    return sys.stdin.buffer.read()


def _stream(connection: Connection, request: dict[str, object]) -> tuple[dict[str, Any], bool]:
    """Print output as it comes; return the answer, and whether every byte was printed."""
    from oneseek_sandbox.client.streams import Ended, Gap, Output

    outputs = {"stdout": sys.stdout, "stderr": sys.stderr}
    is_complete = True
    with closing(connection.events(request)) as events:
        for event in events:
            match event:
                case Output(stream, text):
                    _write(outputs[stream], base64.b64decode(text))
                case Gap(stream, count):
                    is_complete = False
                    note(
                        f"{stream}: {count} bytes are missing here, and the end follows; without "
                        "--max-output-bytes every byte is printed, in a sandbox that this version "
                        "made"
                    )
                case Ended(answer):
                    return answer, is_complete
    raise AssertionError("a stream ends with how the command ended, or with an error")


def _write(output: TextIO, data: bytes) -> None:
    output.flush()
    output.buffer.write(data)
    output.buffer.flush()


def _explain(answer: dict[str, Any]) -> None:
    note_killed(answer["killed_by"], answer["duration_ms"] / 1000)
    if answer.get("hint"):
        note(answer["hint"])
