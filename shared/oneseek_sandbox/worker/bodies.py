"""The bodies of workers' answers, read no further than a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpcore

__all__ = ["read_header", "read_lines", "read_whole"]


def read_header(response: httpcore.Response, wanted: bytes) -> bytes:
    """Return a header by its lower-case name; empty when it is not there."""
    for name, value in response.headers:
        if name.lower() == wanted:
            return value
    return b""


async def read_whole(response: httpcore.Response, limit: int) -> bytes:
    """Return a body of at most `limit` bytes.

    Raises:
        SandboxUnavailableError: It is longer.
    """
    content = bytearray()
    async for chunk in response.aiter_stream():
        content += chunk
        if len(content) > limit:
            raise SandboxUnavailableError(
                f"The sandbox's answer is longer than {limit} bytes and was dropped.",
                may_have_run=True,
            )
    return bytes(content)


async def read_lines(response: httpcore.Response, longest: int) -> AsyncIterator[bytes]:
    """Yield a body line by line, each of at most `longest` bytes.

    Raises:
        SandboxUnavailableError: A line is longer.
    """
    waiting = bytearray()
    async for chunk in response.aiter_stream():
        waiting += chunk
        *complete, rest = waiting.split(b"\n")
        for line in complete:
            yield bytes(line)
        waiting = rest
        if len(waiting) > longest:
            raise SandboxUnavailableError(
                f"The sandbox's answer has a line over {longest} bytes and was dropped.",
                may_have_run=True,
            )
