"""Options that several commands share, and how the sandbox is named by them."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from oneseek_sandbox.cli.failure import EXIT_USAGE, CommandLineError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.cli.connection import Connection

__all__ = [
    "AsJson",
    "IdleTimeout",
    "Key",
    "Label",
    "Sandbox",
    "Scope",
    "Server",
    "Thread",
    "connect",
    "pairs",
    "read_key",
    "sandbox_reference",
]

_DEFAULT_PORT: Final = 8002
_PORTS: Final = range(1, 65_536)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="ONESEEK_SANDBOX_URL",
        metavar="URL",
        help=f"Where the server is (default: port PORT, or {_DEFAULT_PORT}, of this machine).",
    ),
]
Key = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="ONESEEK_SANDBOX_KEY",
        metavar="KEY",
        show_default=False,
        help="The server's API key, or @FILE that holds it; better in the environment, where ps "
        "does not show it.",
    ),
]
Thread = Annotated[str | None, typer.Option("--thread", "-t", metavar="ID", help="Thread ID.")]
Scope = Annotated[
    str | None, typer.Option("--scope", metavar="NAME", help="Tenant or user of the thread.")
]
Sandbox = Annotated[
    str | None,
    typer.Option("--sandbox", "-s", metavar="ID", help="A sandbox_id, instead of --thread."),
]
IdleTimeout = Annotated[
    int | None,
    typer.Option(
        "--idle-timeout",
        metavar="SECONDS",
        min=1,
        max=86_400,
        help="Idle time after which the sandbox ends (default: the server's setting).",
    ),
]
Label = Annotated[
    list[str] | None, typer.Option("--label", "-l", metavar="KEY=VALUE", help="May be repeated.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the server's answer as JSON.")]


def sandbox_reference(thread: str | None, scope: str | None, sandbox: str | None) -> dict[str, str]:
    """Return the request fields that name a sandbox.

    Raises:
        typer.BadParameter: Not exactly one of thread and sandbox, or a scope with a sandbox.
    """
    if (thread is None) == (sandbox is None):
        raise typer.BadParameter("name the sandbox with --thread or with --sandbox, one of the two")
    if sandbox is not None:
        if scope is not None:
            raise typer.BadParameter("--scope goes with --thread; a --sandbox needs none")
        return {"sandbox_id": sandbox}
    return {"thread_id": thread or ""} | ({} if scope is None else {"scope": scope})


def pairs(arguments: Sequence[str] | None, option: str) -> dict[str, str] | None:
    """Turn `NAME=VALUE` arguments of an option into a mapping; None when there are none.

    Raises:
        typer.BadParameter: An argument has no name or no `=`.
    """
    values = {}
    for argument in arguments or ():
        name, equals, value = argument.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{argument!r} is not NAME=VALUE", param_hint=option)
        values[name] = value
    return values or None


def connect(server: str | None, key: str) -> Connection:
    """Return a connection; the HTTP client is imported only now.

    Args:
        server: None for the one that `serve` runs here, on its PORT.

    Raises:
        CommandLineError: The address, the key or PORT cannot be used.
    """
    from oneseek_sandbox.cli.connection import Connection

    return Connection(_server_here() if server is None else server, read_key(key))


def _server_here() -> str:
    # Settings would be a quarter of a second for this one.
    port = os.environ.get("PORT") or str(_DEFAULT_PORT)  # noqa: TID251
    if not (port.isascii() and port.isdecimal() and int(port) in _PORTS):
        raise CommandLineError(
            f"PORT is {port!r}, which names no port of a server; set ONESEEK_SANDBOX_URL, or give "
            "--server",
            EXIT_USAGE,
        )
    return f"http://127.0.0.1:{int(port)}"


def read_key(key: str) -> str:
    """Return a key that was given as an option: itself, or what is in the file of `@FILE`.

    Raises:
        CommandLineError: The file cannot be read.
    """
    if not key.startswith("@"):
        return key
    path = key[1:]
    try:
        return Path(path).read_text().strip()
    except (OSError, ValueError) as error:
        raise CommandLineError(f"cannot read the key from {path}: {error}", 2) from error
