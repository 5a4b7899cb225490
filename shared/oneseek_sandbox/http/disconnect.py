"""Ends work whose caller has gone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from starlette.requests import ClientDisconnect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine
    from typing import Any

    from starlette.requests import Request

__all__ = ["unless_disconnected", "until_read"]

T = TypeVar("T")


async def unless_disconnected(
    request: Request, work: Coroutine[Any, Any, T], *, body_read: asyncio.Event | None = None
) -> T:
    """Await `work`, and cancel it when the connection is dropped.

    Args:
        body_read: Set by `work` when it has read the body; None when that was done before.

    Raises:
        ClientDisconnect: The caller went away; nobody is left to answer.
    """
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_disconnected(request, body_read))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return await task
    finally:
        for future in (gone, task):
            future.cancel()
        await asyncio.gather(gone, task, return_exceptions=True)


async def _disconnected(request: Request, body_read: asyncio.Event | None) -> None:
    if body_read is not None:
        await body_read.wait()
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def until_read(body: AsyncIterator[bytes], body_read: asyncio.Event) -> AsyncIterator[bytes]:
    """Yield a body as it comes, and say when that was all: from then on a caller may be missed."""
    async for chunk in body:
        yield chunk
    body_read.set()
