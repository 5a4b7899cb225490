"""What long lines cost the host: a worker's answer and a server-sent event of up to 32 MiB.

Prints processor seconds for each length; a reader that is linear doubles them with the length.
"""

from __future__ import annotations

import argparse
import asyncio
import time
from typing import TYPE_CHECKING, cast

from oneseek_sandbox.server_events import EventParser
from oneseek_sandbox.workers.bodies import read_lines

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from oneseek_sandbox.workers.request import Answer as WorkerAnswer

PIECE = 64 * 1024
MEBIBYTE = 1024 * 1024


class Answer:
    """A body that comes in pieces, as a worker's answers do."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the pieces."""
        for piece in pieces(self._body):
            yield piece


def pieces(body: bytes) -> Iterator[bytes]:
    return (body[start : start + PIECE] for start in range(0, len(body), PIECE))


def read_worker_line(size: int) -> None:
    answer = cast("WorkerAnswer", Answer(b"a" * size + b"\n"))

    async def run() -> None:
        async for _ in read_lines(answer, 2 * size, 600):
            pass

    asyncio.run(run())


def read_event(size: int) -> None:
    parser = EventParser()
    for piece in pieces(b'event: exit\ndata: {"text": "' + b"a" * size + b'"}\n\n'):
        for _ in parser.feed(piece):
            pass


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the readers of lines.")
    parser.add_argument("--mebibytes", type=int, default=32, help="the longest line")
    most = parser.parse_args().mebibytes
    for name, read in (("a worker's line", read_worker_line), ("an event", read_event)):
        size = most
        while size >= max(1, most // 8):
            begun = time.process_time()
            read(size * MEBIBYTE)
            print(f"{name:16} {size:4} MiB {time.process_time() - begun:8.2f} s")
            size //= 2


if __name__ == "__main__":
    main()
