"""`acquire`, `release`, `cleanup` and `status`: sandboxes as wholes."""

from __future__ import annotations

import os
from typing import Annotated, Any, Final

import typer

from oneseek_sandbox.cli.options import (
    AsJson,
    IdleTimeout,
    Key,
    Label,
    Sandbox,
    Scope,
    Server,
    Thread,
    connect,
    pairs,
    sandbox_reference,
)
from oneseek_sandbox.cli.terminal import human_age, note, print_json, print_line, print_table

__all__ = ["acquire", "cleanup", "end_all", "release", "status"]

_COLUMNS: Final = [
    "thread", "scope", "state", "running", "created", "last used", "ends", "sandbox_id", "labels",
]  # fmt: skip


def acquire(
    thread: Annotated[str, typer.Option("--thread", "-t", metavar="ID", help="Thread ID.")],
    scope: Scope = None,
    idle_timeout: IdleTimeout = None,
    label: Label = None,
    env: Annotated[
        list[str] | None,
        typer.Option(
            "--env",
            "-e",
            metavar="NAME[=VALUE]",
            help="Variable of every command from now on; NAME alone takes the value of this "
            "process, where ps does not show it. May be repeated; replaces all earlier ones.",
        ),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Get a thread's sandbox and print its sandbox_id."""
    fields = {
        **sandbox_reference(thread, scope, None),
        "idle_timeout_seconds": idle_timeout,
        "labels": pairs(label, "--label"),
        "env": pairs([_with_value(argument) for argument in env or ()], "--env"),
    }
    answer = connect(server, key).call("acquire", fields)
    if as_json:
        print_json(answer)
        return
    kind = "the same as before" if answer["reused"] else "new"
    kind += ", started again: files kept, processes gone" if answer["restarted"] else ""
    print_line(answer["sandbox_id"])
    if answer.get("env_lost"):
        note("the server no longer knows the variables of earlier acquires: give --env again")
    note(f"{kind}; files in {answer['workspace']}; ends {human_age(answer['expires_at'])} if idle")


def _with_value(argument: str) -> str:
    if not argument or "=" in argument:
        return argument
    if (value := os.environ.get(argument)) is None:  # noqa: TID251 - the caller's own
        raise typer.BadParameter(f"{argument} is not set here", param_hint="--env")
    return f"{argument}={value}"


def end_all(
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """End every process of a sandbox and keep its files."""
    reference = sandbox_reference(thread, scope, sandbox)
    answer = connect(server, key).call("execute", reference | {"cancel": "*"})
    if as_json:
        print_json(answer)
    else:
        print_line("ended" if answer["cancelled"] else "nothing was running")


def release(
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """End a sandbox and everything in it."""
    answer = connect(server, key).call("release", sandbox_reference(thread, scope, sandbox))
    if as_json:
        print_json(answer)
    else:
        print_line("already released" if answer["already_released"] else "released")


def cleanup(
    event_id: Annotated[
        str | None,
        typer.Option(
            "--event-id", metavar="ID", help="Send a CloudEvent with this id, until it arrived."
        ),
    ] = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """End the sandboxes that were idle for too long."""
    connection = connect(server, key)
    if event_id is not None:
        from oneseek_sandbox.cli.events import send_cleanup_event

        send_cleanup_event(connection, event_id)
        note(f"{connection.server} took event {event_id}")
        return
    answer = connection.call("cleanup_idle", {})
    if as_json:
        print_json(answer)
    else:
        print_line(", ".join(f"{count} {name}" for name, count in answer.items()))


def status(
    label: Label = None, as_json: AsJson = False, server: Server = None, key: Key = ""
) -> None:
    """List the live sandboxes, all or those with these labels."""
    connection = connect(server, key)
    answer = connection.sandboxes(pairs(label, "--label") or {})
    if as_json:
        print_json(answer)
        return
    rows = sorted(answer["sandboxes"], key=lambda sandbox: sandbox["last_used_at"], reverse=True)
    if rows:
        width = len(_COLUMNS) if any(sandbox.get("labels") for sandbox in rows) else -1
        print_table(_COLUMNS[:width], [_row(sandbox)[:width] for sandbox in rows])
    note(f"{len(rows)} live at {connection.server}")
    for place in answer.get("damaged", []):
        note(f"damaged: the files of a sandbox whose record cannot be read are kept in {place}")


def _row(sandbox: dict[str, Any]) -> list[str]:
    return [
        sandbox["thread_id"],
        sandbox["scope"],
        sandbox["state"],
        str(sandbox["running"]),
        human_age(sandbox["created_at"]),
        human_age(sandbox["last_used_at"]),
        human_age(sandbox["expires_at"]),
        sandbox["sandbox_id"],
        " ".join(f"{key}={value}" for key, value in sandbox.get("labels", {}).items()),
    ]
