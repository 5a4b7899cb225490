"""`put`, `get` and `cat`: bytes between this machine and a sandbox, streamed both ways."""

from __future__ import annotations

import hashlib
import os
import stat
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.terminal import transfer_progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from oneseek_sandbox.cli.connection import Connection
    from oneseek_sandbox.client.uploads import LocalFile

__all__ = ["print_file", "receive_file", "send_file"]

_STANDARD: Final = "-"
_CHUNK_BYTES: Final = 1024 * 1024


def send_file(
    connection: Connection, reference: dict[str, str], local: str, remote: str, *, sync: bool
) -> dict[str, Any]:
    """Write a local file, or standard input for `-`, to the sandbox; its mode goes along.

    The local file's name is added to a `remote` that ends with `/`.
    """
    if remote.endswith("/"):
        if local == _STANDARD:
            raise CommandLineError("standard input has no name: give the whole remote path", 2)
        remote += Path(local).name
    fields: dict[str, object] = {**reference, "path": remote, "sync": sync or None}
    if local == _STANDARD:
        pieces = iter(lambda: sys.stdin.buffer.read(_CHUNK_BYTES), b"")
        return connection.upload(fields, _with_progress(pieces, remote, None), None)
    with _reading(Path(local)) as file:
        content = _with_progress(file, remote, file.size)
        return connection.upload({**fields, "mode": file.mode}, content, file.size)


def receive_file(
    connection: Connection, reference: dict[str, str], remote: str, local: str
) -> Path | None:
    """Write a file of the sandbox to a local one, whole or not at all, and return which.

    A `local` directory gets a file of the same name; `-` is stdout, and gives None.

    Raises:
        CommandLineError: It cannot be written, or came with another hash than announced.
    """
    if local == _STANDARD:
        print_file(connection, reference, remote)
        return None
    target = Path(local)
    if target.is_dir():
        target /= remote.rstrip("/").rpartition("/")[2]
    with _replacing(target) as output:
        _download(connection, {**reference, "path": remote}, output, remote)
    return target


def print_file(connection: Connection, reference: dict[str, str], remote: str) -> None:
    """Write a file of the sandbox to stdout, byte by byte as it is."""
    with connection.download({**reference, "path": remote}) as file:
        for chunk in file.chunks:
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _download(
    connection: Connection, fields: dict[str, str], output: BinaryIO, description: str
) -> None:
    digest = hashlib.sha256()
    with connection.download(fields) as file, transfer_progress() as progress:
        task = progress.add_task(description, total=file.size)
        for chunk in file.chunks:
            output.write(chunk)
            digest.update(chunk)
            progress.advance(task, len(chunk))
    if file.sha256 not in (None, digest.hexdigest()):
        raise CommandLineError(
            f"{description} changed while it was read, or was cut short; nothing was written here"
        )


def _with_progress(chunks: Iterable[bytes], description: str, size: int | None) -> Iterator[bytes]:
    with transfer_progress() as progress:
        task = progress.add_task(description, total=size)
        for chunk in chunks:
            yield chunk
            progress.advance(task, len(chunk))


@contextmanager
def _reading(path: Path) -> Iterator[LocalFile]:
    from oneseek_sandbox.client.uploads import LocalFile

    try:
        with path.open("rb") as source:
            yield LocalFile(source, str(path))
    except OSError as error:
        raise CommandLineError(f"cannot read {path}: {error.strerror or error}") from None


@contextmanager
def _replacing(target: Path) -> Iterator[BinaryIO]:
    """Give a temporary file beside `target` that takes its place when the block ends well."""
    try:
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    except OSError as error:
        raise CommandLineError(f"cannot write {target}: {error.strerror}") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as output:
            yield output
        temporary.chmod(_mode_of(target))
        temporary.replace(target)
    except OSError as error:
        raise CommandLineError(f"cannot write {target}: {error.strerror}") from None
    finally:
        temporary.unlink(missing_ok=True)


def _mode_of(target: Path) -> int:
    if target.exists():
        return stat.S_IMODE(target.stat().st_mode)
    umask = os.umask(0o022)
    os.umask(umask)
    return 0o666 & ~umask
