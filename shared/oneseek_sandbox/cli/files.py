"""`ls`, `cat`, `put`, `get` and `replace`: files in a sandbox."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

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
from oneseek_sandbox.cli.terminal import human_size, note, print_json, print_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.cli.connection import Connection

__all__ = ["cat", "get", "ls", "put", "replace"]

_Remote = Annotated[str, typer.Argument(metavar="PATH", help="Absolute, in the workspace.")]
_SUFFIX = {"directory": "/", "symlink": "@", "other": "?"}


def ls(
    path: Annotated[str | None, typer.Argument(help="Left out, the workspace.")] = None,
    depth: Annotated[int, typer.Option(min=1, max=32, help="How deep to go.")] = 1,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """List a directory of the sandbox."""
    fields: dict[str, object] = {
        **sandbox_reference(thread, scope, sandbox),
        "path": path,
        "depth": depth,
    }
    connection = connect(server, key)
    entries = _entries(connection, fields)
    if as_json:
        print_json({"entries": list(entries)})
    else:
        for entry in entries:
            print_line(_line(entry))


def cat(
    path: _Remote,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    server: Server = None,
    key: Key = "",
) -> None:
    """Print a file of the sandbox, as it is."""
    reference = sandbox_reference(thread, scope, sandbox)
    from oneseek_sandbox.cli.transfer import print_file

    print_file(connect(server, key), reference, path)


def put(
    local: Annotated[str, typer.Argument(metavar="LOCAL", help="A file here; - for stdin.")],
    remote: Annotated[
        str, typer.Argument(metavar="REMOTE", help="Absolute; a / at its end keeps the name.")
    ],
    sync: Annotated[
        bool, typer.Option("--sync", help="Wait until the file is on the disk (fsync).")
    ] = False,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Copy a file into the sandbox, whole or not at all."""
    reference = sandbox_reference(thread, scope, sandbox)
    from oneseek_sandbox.cli.transfer import send_file

    answer = send_file(connect(server, key), reference, local, remote, sync=sync)
    if as_json:
        print_json(answer)
    else:
        verb = "wrote" if answer["created"] else "replaced"
        note(f"{verb} {answer['path']}, {human_size(answer['size'])}")


def get(
    remote: Annotated[str, typer.Argument(metavar="REMOTE", help="Absolute, in the workspace.")],
    local: Annotated[
        str, typer.Argument(metavar="LOCAL", help="A file or directory here; - for stdout.")
    ] = ".",
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    server: Server = None,
    key: Key = "",
) -> None:
    """Copy a file out of the sandbox, whole or not at all."""
    reference = sandbox_reference(thread, scope, sandbox)
    from oneseek_sandbox.cli.transfer import receive_file

    target = receive_file(connect(server, key), reference, remote, local)
    if target is not None:
        note(f"wrote {target}, {human_size(target.stat().st_size)}")


def replace(
    path: _Remote,
    old: Annotated[str, typer.Argument(help="Exact text; must occur once unless --all.")],
    new: Annotated[str, typer.Argument(help="What takes its place.")],
    every: Annotated[bool, typer.Option("--all", help="Replace each occurrence.")] = False,
    thread: Thread = None,
    scope: Scope = None,
    sandbox: Sandbox = None,
    as_json: AsJson = False,
    server: Server = None,
    key: Key = "",
) -> None:
    """Replace exact text in a file of the sandbox."""
    reference = sandbox_reference(thread, scope, sandbox)
    fields = {**reference, "path": path, "old": old, "new": new, "replace_all": every}
    answer = connect(server, key).call("replace", fields)
    if as_json:
        print_json(answer)
    else:
        count = answer["replacements"]
        print_line(f"{count} replacement{'' if count == 1 else 's'} in {answer['path']}")


def _entries(connection: Connection, fields: dict[str, object]) -> Iterator[dict[str, Any]]:
    cursor = None
    while True:
        answer = connection.call("ls", {**fields, "cursor": cursor})
        yield from answer["entries"]
        cursor = answer["cursor"]
        if cursor is None:
            return


def _line(entry: dict[str, Any]) -> str:
    modified = datetime.fromisoformat(entry["modified_at"]).astimezone()
    name = printable(entry["path"]) + _SUFFIX.get(entry["type"], "")
    return f"{entry['mode']} {human_size(entry['size']):>8} {modified:%Y-%m-%d %H:%M} {name}"
