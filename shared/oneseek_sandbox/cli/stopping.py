"""`stop`: ends the embedded server of a home that nobody needs any more."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.serving import read_settings
from oneseek_sandbox.cli.terminal import print_line, printable
from oneseek_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Thread

__all__ = ["stop"]

_NAMED: Final = 5
"""How many of those that keep it are named."""


def stop() -> None:
    """Stop the embedded Valkey server when no sandbox is alive and no server uses it.

    PROVISIONER_HOME says which one. No lease is lost: the next `serve` starts it again.
    Otherwise nothing is stopped, the message names what is alive, and the exit status is 1.
    """
    import asyncio

    from oneseek_sandbox.control.living import find_living
    from oneseek_sandbox.leases.embedded import EmbeddedServer

    settings = read_settings()
    try:
        if not EmbeddedServer.is_running(settings.home):
            print_line(f"No embedded Valkey server runs for {settings.home}.")
            return
        users = EmbeddedServer.users(settings.home)
        living = asyncio.run(find_living(settings))
        if users or living:
            raise CommandLineError(
                f"the embedded Valkey server of {settings.home} was not stopped: "
                + "; ".join(_reasons(users, living))
            )
        EmbeddedServer.stop(settings.home)
    except SandboxError as error:
        raise CommandLineError(f"{error.code}: {error.message}") from None
    except OSError as error:
        raise CommandLineError(f"cannot look at {settings.home}: {error}") from error
    print_line(f"Stopped the embedded Valkey server of {settings.home}.")


def _reasons(users: list[str], living: list[Thread]) -> list[str]:
    reasons = []
    if users:
        reasons.append(f"in use by {_some(users)}. Stop that first")
    if living:
        count = "1 sandbox is" if len(living) == 1 else f"{len(living)} sandboxes are"
        reasons.append(
            f"{count} alive: {_some([_label(thread) for thread in living])}. Release them while a "
            "server runs, or wait until they idle out"
        )
    return reasons


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more


def _label(thread: Thread) -> str:
    if thread.scope in ("", "default"):
        return printable(thread.thread_id)
    return printable(f"{thread.scope}/{thread.thread_id}")
