"""One request over a connection that is closed at its end, whatever becomes of the caller.

httpcore closes a connection in several steps, and a second cancellation between them leaves it open:
the worker would wait for its turn and then do what was given up. So opening and closing are tasks of
their own, cancelled once at most.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable
    from contextlib import AbstractAsyncContextManager

    import httpcore

__all__ = ["exchange"]

_ending: Final[set[asyncio.Future[None]]] = set()


@asynccontextmanager
async def exchange(
    opened: AbstractAsyncContextManager[httpcore.Response],
) -> AsyncIterator[httpcore.Response]:
    """Enter `opened`, a stream of a pool, and leave it in any case."""
    opening = asyncio.ensure_future(opened.__aenter__())
    try:
        response = await asyncio.shield(opening)
    except BaseException:
        await _finish(_give_up(opened, opening))
        raise
    try:
        yield response
    finally:
        await _finish(opened.__aexit__(None, None, None))


async def _give_up(
    opened: AbstractAsyncContextManager[httpcore.Response],
    opening: asyncio.Future[httpcore.Response],
) -> None:
    opening.cancel()
    await asyncio.wait({opening})
    if not opening.cancelled() and opening.exception() is None:
        await opened.__aexit__(None, None, None)


async def _finish(work: Awaitable[Any]) -> None:
    """Wait for work that goes on when this wait is cancelled."""
    task = asyncio.ensure_future(work)
    _ending.add(task)
    task.add_done_callback(_ending.discard)
    await asyncio.shield(task)
