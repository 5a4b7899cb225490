"""The bodies of workers' answers, read no further than a bound."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.lines import LineSplitter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.workers.request import Answer

__all__ = ["read_header", "read_lines", "read_pieces", "read_whole"]


def read_header(response: Answer, wanted: bytes) -> bytes:
    """Return a header by its lower-case name; empty when it is not there."""
    for name, value in response.headers:
        if name == wanted:
            return value
    return b""


async def read_pieces(response: Answer, limit: int) -> AsyncIterator[bytes]:
    """Yield a body of at most `limit` bytes as it comes.

    Raises:
        SandboxUnavailableError: It is longer.
    """
    received = 0
    async for chunk in response.pieces():
        received += len(chunk)
        if received > limit:
            raise SandboxUnavailableError(
                f"The sandbox's answer is longer than {limit} bytes and was dropped.",
                may_have_run=True,
            )
        yield chunk


async def read_whole(response: Answer, limit: int) -> bytes:
    """Return a body of at most `limit` bytes.

    Raises:
        SandboxUnavailableError: It is longer.
    """
    return b"".join([chunk async for chunk in read_pieces(response, limit)])


async def read_lines(response: Answer, longest: int, seconds: float) -> AsyncIterator[bytes]:
    """Yield a body line by line, each of at most `longest` bytes.

    Args:
        seconds: How long the worker may take in all; what the caller does in between is its own.

    Raises:
        SandboxUnavailableError: A line is longer, or the worker took longer.
    """
    lines = LineSplitter()
    chunks = aiter(response.pieces())
    clock = asyncio.get_running_loop().time
    while True:
        began = clock()
        try:
            async with asyncio.timeout(seconds):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise SandboxUnavailableError(
                "The sandbox did not end its answer in time.", may_have_run=True
            ) from None
        if chunk is None:
            return
        seconds -= clock() - began
        for line in lines.feed(chunk):
            yield line
        if lines.waiting > longest:
            raise SandboxUnavailableError(
                f"The sandbox's answer has a line over {longest} bytes and was dropped.",
                may_have_run=True,
            )
