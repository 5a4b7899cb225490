"""What may be uploaded, and how its bytes are read: from memory, a local file, or a stream."""

from __future__ import annotations

import asyncio
import os
import stat
from collections.abc import AsyncIterable, Iterable
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final, TypeAlias

from oneseek_sandbox.errors import InvalidRequestError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

__all__ = ["Content", "LocalFile", "readable"]

Content: TypeAlias = bytes | Path | Iterable[bytes] | AsyncIterable[bytes]
"""Bytes, the path of a local file, or bytes that come one piece after the other."""

_CHUNK_BYTES: Final = 1024 * 1024


class LocalFile:
    """An open local file, iterated in pieces from its start: as many bytes as it had when opened.

    Attributes:
        size: In bytes; None for a pipe or a device, which has a size of 0 and more to give, and
            can be read once only.
        mode: Its permissions as an octal number, as `write_file` takes them; None as `size`.
    """

    def __init__(self, file: BinaryIO, name: str) -> None:
        status = os.fstat(file.fileno())
        is_regular = stat.S_ISREG(status.st_mode)
        self._file = file
        self._name = name
        self.size = status.st_size if is_regular else None
        self.mode = f"{stat.S_IMODE(status.st_mode) & 0o777:04o}" if is_regular else None

    def __iter__(self) -> Iterator[bytes]:
        if self.size is not None:
            self._file.seek(0)
        left = self.size
        # No more than was announced, should the file grow meanwhile.
        while left is None or left > 0:
            chunk = self._file.read(_CHUNK_BYTES if left is None else min(_CHUNK_BYTES, left))
            if not chunk:
                break
            left = None if left is None else left - len(chunk)
            yield chunk
        if left:
            raise OSError(f"{self._name} shrank while it was sent")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for chunk in _in_threads(self):
            yield chunk


@contextmanager
def readable(content: Content) -> Iterator[bytes | LocalFile | AsyncIterable[bytes]]:
    """Give content as a request can send it; a local file is open meanwhile.

    Raises:
        InvalidRequestError: It is something else, like a text.
        OSError: The local file cannot be read.
    """
    if isinstance(content, Path):
        with content.open("rb") as file:
            yield LocalFile(file, str(content))
    elif isinstance(content, bytes | bytearray | memoryview):
        yield bytes(content)
    elif isinstance(content, AsyncIterable):
        yield content
    elif hasattr(content, "__iter__") and not isinstance(content, str):
        yield _in_threads(content)
    else:
        raise InvalidRequestError(
            f"content: upload takes bytes, not {type(content).__name__}. Give text.encode() or use "
            "write_file for a text, and pathlib.Path(name) to upload a local file."
        )


async def _in_threads(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield what an iterable gives; it may block without holding up the event loop."""
    iterator = iter(chunks)
    while (chunk := await asyncio.to_thread(next, iterator, None)) is not None:
        yield chunk
