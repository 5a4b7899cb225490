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
    from collections.abc import Iterator

    from oneseek_sandbox.cli.connection import Connection

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
    fields: dict[str, str | None] = {**reference, "path": remote}
    if sync:
        fields["sync"] = "true"
    if local == _STANDARD:
        return connection.upload(fields, _with_progress(sys.stdin.buffer, remote, None), None)
    with _reading(Path(local)) as source:
        status = os.fstat(source.fileno())
        # Pipes and devices have a size of 0 and more to give.
        size = status.st_size if stat.S_ISREG(status.st_mode) else None
        if size is not None:
            fields["mode"] = f"{stat.S_IMODE(status.st_mode) & 0o777:04o}"
        return connection.upload(fields, _with_progress(source, remote, size), size)


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
    with connection.download({**reference, "path": remote}) as response:
        for chunk in response.iter_bytes():
            sys.stdout.buffer.write(chunk)
    sys.stdout.buffer.flush()


def _download(
    connection: Connection, fields: dict[str, str], output: BinaryIO, description: str
) -> None:
    digest = hashlib.sha256()
    with connection.download(fields) as response, transfer_progress() as progress:
        size = response.headers.get("x-sandbox-size")
        task = progress.add_task(description, total=int(size) if size else None)
        for chunk in response.iter_bytes():
            output.write(chunk)
            digest.update(chunk)
            progress.advance(task, len(chunk))
        announced = response.headers.get("x-sandbox-sha256")
    if announced and announced != digest.hexdigest():
        raise CommandLineError(
            f"{description} changed while it was read, or was cut short; nothing was written here"
        )


def _with_progress(source: BinaryIO, description: str, size: int | None) -> Iterator[bytes]:
    left = size
    with transfer_progress() as progress:
        task = progress.add_task(description, total=size)
        # No more than was announced, should the file grow meanwhile.
        while left is None or left > 0:
            chunk = source.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
            if not chunk:
                break
            left = None if left is None else left - len(chunk)
            yield chunk
            progress.advance(task, len(chunk))
    if left:
        raise CommandLineError(f"{description}: the local file shrank while it was sent")


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    try:
        source = path.open("rb")
    except OSError as error:
        raise CommandLineError(f"cannot read {path}: {error.strerror}") from None
    with source:
        yield source


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
