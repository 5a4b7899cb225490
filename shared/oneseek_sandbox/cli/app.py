"""The commands and their options."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from oneseek_sandbox import __version__
from oneseek_sandbox.cli.agents import mcp, tools
from oneseek_sandbox.cli.execute import execute
from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.files import cat, get, ls, put, replace
from oneseek_sandbox.cli.processes import attach, logs, ps, signal
from oneseek_sandbox.cli.sandboxes import acquire, cleanup, end_all, release, status
from oneseek_sandbox.cli.serving import doctor, serve
from oneseek_sandbox.cli.shell import shell
from oneseek_sandbox.cli.stopping import stop
from oneseek_sandbox.cli.terminal import note, print_line

__all__ = ["app", "run"]

app = typer.Typer(
    name="oneseek-sandbox",
    help="One isolated sandbox per conversation thread: serve them, and use them.",
    epilog=(
        "Which server: --server, else ONESEEK_SANDBOX_URL, else port PORT (8002) of this machine. "
        "Its key: --key, else ONESEEK_SANDBOX_KEY."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Rich help takes twice as long to appear.
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def run() -> None:
    """Run the app; failures become one line on stderr and an exit status."""
    try:
        app(prog_name="oneseek-sandbox")
    except CommandLineError as error:
        note(error.message)
        sys.exit(error.exit_status)
    except BrokenPipeError:
        # The interpreter flushes stdout once more on its way out.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)


def _print_version(wanted: bool) -> None:
    if wanted:
        print_line(f"oneseek-sandbox {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
) -> None:
    """One isolated sandbox per conversation thread: serve them, and use them."""


def _add_commands() -> None:
    """Add them in the order in which help shows them."""
    app.command()(serve)
    app.command()(stop)
    app.command()(doctor)
    app.command()(acquire)
    # What follows the first word of the command is the command's own.
    app.command("exec", context_settings={"allow_interspersed_args": False})(execute)
    app.command("shell", context_settings={"allow_interspersed_args": False})(shell)
    for in_a_sandbox in (ps, logs, attach, signal, ls, cat, put, get, replace):
        app.command()(in_a_sandbox)
    for command in (end_all, release, cleanup, status, tools, mcp):
        app.command()(command)
    app.command("list")(status)


_add_commands()
