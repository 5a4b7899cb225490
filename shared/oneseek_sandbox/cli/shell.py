"""`shell`: a terminal in a thread's sandbox."""

from __future__ import annotations

import os
import select
import shlex
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.options import (
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
from oneseek_sandbox.cli.terminal import note, note_killed

if TYPE_CHECKING:
    from oneseek_sandbox.cli.connection import Connection
    from oneseek_sandbox.cli.own_terminal import OwnTerminal
    from oneseek_sandbox.cli.typing_ahead import Typing
    from oneseek_sandbox.cli.watching import Watching

__all__ = ["shell"]

_LOGIN: Final = 'exec "$(command -v bash || command -v sh)"'
_SHOWN_AGAIN: Final = 16 * 1024
"""Bytes of what a terminal printed before that are shown to one who comes back."""
_ENDED_STATUS: Final = 125
_SIGNALLED: Final = 128
_NOT_THERE: Final = frozenset(
    {"lease_not_found", "process_lost", "process_not_found"}
    | {"sandbox_expired", "sandbox_gone", "sandbox_lost", "sandbox_released"}
)
"""Errors after which there is nothing to come back to."""


def shell(
    command: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="COMMAND",
            help="Instead of a shell; one argument is a shell command line.",
        ),
    ] = None,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    attach: Annotated[
        str | None,
        typer.Option("--attach", metavar="ID", help="Come back to one that was left (see ps)."),
    ] = None,
    cwd: Annotated[
        str | None, typer.Option(metavar="DIR", help="Working directory (absolute path).")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE", help="May be repeated.")
    ] = None,
    timeout: Annotated[
        float | None,
        typer.Option(
            metavar="SECONDS",
            min=0.1,
            help="Time limit, during which the sandbox does not expire, also when it is left.",
        ),
    ] = None,
    idle_timeout: IdleTimeout = None,
    server: Server = None,
    key: Key = "",
) -> None:
    """Open a shell, or run a command, on a terminal in a thread's sandbox.

    The sandbox is acquired if need be. Enter and `~.` leave it running. Ends with its exit code.
    """
    from oneseek_sandbox.cli.own_terminal import OwnTerminal

    terminal = OwnTerminal()
    reference = sandbox_reference(thread, scope, sandbox)
    connection = connect(server, key)
    back = _way_back(thread, scope, sandbox)
    if attach is not None:
        if command or cwd or env or timeout:
            raise typer.BadParameter(
                "--attach is for what was started before", param_hint="--attach"
            )
        session = _Session(connection, {**reference, "request_id": attach}, terminal, back)
        session.find()
    else:
        reference = _acquired(connection, reference, idle_timeout)
        session = _Session(
            connection, {**reference, "request_id": os.urandom(8).hex()}, terminal, back
        )
        words = command or [_LOGIN]
        wanted = {"cwd": cwd, "env": pairs(env, "--env"), "timeout_seconds": timeout}
        session.start({"command": words[0] if len(words) == 1 else words, **wanted})
    raise typer.Exit(session.run())


def _acquired(
    connection: Connection, reference: dict[str, str], idle_timeout: int | None
) -> dict[str, str]:
    if "thread_id" not in reference:
        return reference
    acquired = connection.call("acquire", reference | {"idle_timeout_seconds": idle_timeout})
    if acquired.get("restarted"):
        note("this sandbox was started again: its files are there, its processes are not")
    return {"sandbox_id": acquired["sandbox_id"]}


def _way_back(thread: str | None, scope: str | None, sandbox: str | None) -> str:
    """Return the command that comes back, but for the id."""
    given = {"--thread": thread, "--scope": scope, "--sandbox": sandbox}
    words = [word for name, value in given.items() if value is not None for word in (name, value)]
    return shlex.join(["oneseek-sandbox", "shell", *words, "--attach"])


class _Session:
    """One terminal there, shown on the one here."""

    def __init__(
        self, connection: Connection, named: dict[str, str], terminal: OwnTerminal, back: str
    ) -> None:
        self._connection = connection
        self._named = named
        self._terminal = terminal
        self._back = f"{back} {shlex.quote(named['request_id'])}"
        self._offset = self._typed = 0

    def start(self, fields: dict[str, Any]) -> None:
        """Start it; a start that is repeated is the same process."""
        self._connection.call("execute", {**self._named, "terminal": self._terminal.spec, **fields})

    def find(self) -> None:
        """Find one that was left, and go on with the end of what it has shown.

        Raises:
            CommandLineError: There is none, or it has no terminal.
        """
        process = self._connection.call("processes", self._named)["processes"][0]
        log = process["log"]
        if process["terminal"] is None or log is None:
            raise CommandLineError(
                "this process has no terminal, or was lost in a restart; read it with logs"
            )
        self._offset = max(log["first_offset"], log["next_offset"] - _SHOWN_AGAIN)
        self._typed = process["stdin_offset"]

    def run(self) -> int:
        """Show it until it has ended or is left; returns the exit status."""
        from oneseek_sandbox.cli.watching import Watching

        note("Enter and ~. leave this running")
        wake, waker = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        watching = Watching(self._connection, self._named, self._offset, self._terminal, waker)
        with self._terminal.raw(waker):
            signalled = self._serve(watching, wake)
        if watching.error is not None:
            if watching.error.code not in _NOT_THERE:
                note(f"if it still runs, come back with: {self._back}")
            raise watching.error
        if watching.process is not None:
            status = watching.process["exit_code"]
            if watching.process["killed_by"]:
                note_killed(watching.process["killed_by"], _seconds(watching.process))
            return _ENDED_STATUS if status is None else int(status)
        note(f"left; come back with: {self._back}")
        return _SIGNALLED + signalled if signalled else 0

    def _serve(self, watching: Watching, wake: int) -> int:
        """Pass on keys and sizes until it is over; returns the number of a signal that ended it."""
        from oneseek_sandbox.cli.typing_ahead import Escape, Typing

        typing = Typing(self._connection, self._named, self._typed, watching.fail)
        watching.start()
        typing.start()
        typing.add(size=self._terminal.size)
        escape, is_left = Escape(), False
        while not (is_left or watching.is_over):
            waited_for = [wake] if typing.is_full else [wake, 0]
            ready, _, _ = select.select(waited_for, [], [])
            if wake in ready and (signalled := self._take_signals(os.read(wake, 4096), typing)):
                return signalled
            if 0 in ready:
                keys = _read_keys()
                sent, is_left = escape.feed(keys)
                typing.add(sent)
                is_left = is_left or not keys
        return 0

    def _take_signals(self, numbers: bytes, typing: Typing) -> int:
        from oneseek_sandbox.cli.own_terminal import ENDING_SIGNALS, SIZE_SIGNALS

        if any(number in SIZE_SIGNALS for number in numbers):
            self._terminal.make_raw()  # after a stop it is as whoever had it meanwhile left it
            typing.add(size=self._terminal.size)
        return next((number for number in numbers if number in ENDING_SIGNALS), 0)


def _seconds(process: dict[str, Any]) -> float:
    """Return how long a process that has ended ran, to the millisecond."""
    began, ended = (datetime.fromisoformat(process[name]) for name in ("started_at", "ended_at"))
    return round((ended - began).total_seconds(), 3)


def _read_keys() -> bytes:
    """Return what was typed; nothing when the terminal is gone."""
    try:
        return os.read(0, 65_536)
    except OSError:
        return b""
