"""`tools` and `mcp`: the tools for models, as data and as an MCP server."""

from __future__ import annotations

import enum
import os
import signal
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.options import Scope, read_key
from oneseek_sandbox.cli.terminal import note, print_line
from oneseek_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oneseek_sandbox.agent_tools.definitions import Tool
    from oneseek_sandbox.client import BackendSettings

__all__ = ["Format", "Transport", "mcp", "tools"]

_SHORTER_THAN_A_MINUTE: Final = 45.0
"""MCP hosts time out after 60 s, many of them regardless of progress messages."""
_STOPS = (signal.SIGTERM, signal.SIGINT)

_Thread = Annotated[
    str | None,
    typer.Option(
        "--thread", "-t", metavar="ID", help="Use one thread for every session (default: one each)."
    ),
]
_McpKey = Annotated[
    str,
    typer.Option(
        "--mcp-key",
        envvar="ONESEEK_SANDBOX_MCP_KEY",
        metavar="KEY",
        show_default=False,
        help="With http: what clients send as Bearer; or @FILE. Not the key of the sandboxes.",
    ),
]
_Tools = Annotated[
    list[str] | None,
    typer.Option(
        "--tool", metavar="NAME", help="Offer this tool only; may be repeated (default: all)."
    ),
]
_ReadOnly = Annotated[
    bool, typer.Option("--read-only", help="Offer only the tools that change nothing.")
]
_YieldSeconds = Annotated[
    float,
    typer.Option(
        "--yield-seconds",
        min=0,
        metavar="N",
        help="Return 'still running' after N seconds; sandbox_wait continues (0: never).",
    ),
]


class Format(enum.StrEnum):
    """In which form schemas are printed."""

    OPENAI = "openai"
    JSON = "json"


class Transport(enum.StrEnum):
    """How MCP clients reach the server."""

    STDIO = "stdio"
    HTTP = "http"


def tools(
    form: Annotated[
        Format,
        typer.Option("--format", help="openai: function schemas; json: name, description, schema."),
    ] = Format.OPENAI,
    strict: Annotated[
        bool, typer.Option("--strict", help="With openai: schemas for its strict mode.")
    ] = False,
    names: _Tools = None,
    read_only: _ReadOnly = False,
    yielding: Annotated[
        bool,
        typer.Option("--yielding", help="For a backend with yield_seconds: include sandbox_wait."),
    ] = False,
) -> None:
    """Print the tools that models get, as JSON."""
    import json

    from oneseek_sandbox.agent_tools.definitions import function_schemas

    data: list[dict[str, Any]]
    offered = _offered(names, read_only=read_only, yielding=yielding)
    if form is Format.OPENAI:
        data = function_schemas(offered, strict=strict, yielding=yielding)
    elif strict:
        raise typer.BadParameter("--strict goes with --format openai")
    else:
        data = [
            {"name": tool.name, "description": tool.description, "parameters": tool.schema()}
            for tool in offered.values()
        ]
    print_line(json.dumps(data, indent=2))


def mcp(
    transport: Annotated[
        Transport, typer.Option(help="stdio: a client starts this command. http: it has a URL.")
    ] = Transport.STDIO,
    thread: _Thread = None,
    scope: Scope = None,
    release: Annotated[
        bool,
        typer.Option("--release", help="Release sandboxes on exit (default: let them idle out)."),
    ] = False,
    host: Annotated[str, typer.Option(help="With http: where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="With http.")] = 8003,
    key: _McpKey = "",
    names: _Tools = None,
    read_only: _ReadOnly = False,
    yield_seconds: _YieldSeconds = _SHORTER_THAN_A_MINUTE,
) -> None:
    """Serve the tools to MCP clients.

    Which sandboxes they use is read from SANDBOX_* variables.
    """
    import asyncio

    from oneseek_sandbox.client import BackendSettings
    from oneseek_sandbox.log_lines import configure_logging

    configure_logging("warning")
    offered = _offered(names, read_only=read_only, yielding=yield_seconds > 0)
    with _refusals():
        settings = BackendSettings.from_environment()
        if transport is Transport.STDIO:
            serving = _serve_stdio(
                settings,
                thread,
                scope,
                release=release,
                offered=offered,
                yield_seconds=yield_seconds,
            )
            asyncio.run(serving)
            return
        from oneseek_sandbox.adapters.mcp_http import serve_http

        serving = serve_http(
            settings,
            key=read_key(key),
            host=host,
            port=port,
            thread_id=thread,
            scope=scope,
            release=release,
            offered=offered,
            yield_seconds=yield_seconds,
            on_ready=lambda url: note(f"serves MCP at {url}"),
        )
        # Uvicorn raises the signal that stopped it once more, when there is still work to do.
        for number in _STOPS:
            signal.signal(number, lambda *_: None)
        asyncio.run(serving)


async def _serve_stdio(
    settings: BackendSettings,
    thread: str | None,
    scope: str | None,
    *,
    release: bool,
    offered: Iterable[str],
    yield_seconds: float,
) -> None:
    import asyncio

    from oneseek_sandbox.adapters.mcp import serve_stdio

    stop = asyncio.Event()
    for number in _STOPS:
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve_stdio(
        settings,
        thread_id=thread,
        scope=scope,
        release=release,
        offered=offered,
        yield_seconds=yield_seconds,
        stop=stop,
    )
    if stop.is_set():
        # A thread still waits for standard input, and an ordinary exit would wait for the thread.
        os._exit(0)


def _offered(names: list[str] | None, *, read_only: bool, yielding: bool) -> dict[str, Tool]:
    from oneseek_sandbox.agent_tools.definitions import READ_ONLY_TOOLS, choose_tools

    if read_only and names:
        raise typer.BadParameter("give either --tool or --read-only")
    wanted = READ_ONLY_TOOLS if read_only else names or None
    try:
        return choose_tools(wanted, yielding=yielding)
    except SandboxError as error:
        raise typer.BadParameter(error.message.removeprefix("tools: ")) from None


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"mcp", "mcp_types"}:
            raise
        raise CommandLineError(
            "the MCP server needs more packages: pip install 'oneseek-sandbox[mcp]' "
            "(in a checkout: make run EXTRAS=mcp)"
        ) from None
    except SandboxError as error:
        raise CommandLineError(f"{error.code}: {error.message}") from None
    except OSError as error:
        raise CommandLineError(f"cannot serve here: {error}") from error
