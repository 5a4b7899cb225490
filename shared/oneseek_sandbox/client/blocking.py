"""The same, for code that is not async: a loop in a thread of its own, and no second copy."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import threading
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from oneseek_sandbox.client.sandboxes import Download
from oneseek_sandbox.client.thread import ThreadSandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["Blocking", "BlockingSandboxes"]

ResultT = TypeVar("ResultT")


class _LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="oneseek-sandbox", daemon=True
        )
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself, for who schedules work there."""
        return self._loop

    def run(self, work: Awaitable[ResultT]) -> ResultT:
        """Await something there and return its result; an interrupt cancels it."""
        future = asyncio.run_coroutine_threadsafe(_awaited(work), self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def close(self) -> None:
        """Stop the loop and wait for the thread."""
        self.run(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Blocking:
    """Wraps an async object of this package: the same methods, each of which waits for its result.

    An async generator becomes an iterator, an async context manager a context manager.
    """

    def __init__(self, wrapped: Any, loop: _LoopThread) -> None:  # noqa: ANN401 - whatever it is
        self._wrapped = wrapped
        self._loop = loop

    @property
    def wrapped(self) -> Any:  # noqa: ANN401 - whatever it is
        """The async object; it belongs to `loop`."""
        return self._wrapped

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the async object lives."""
        return self._loop.loop

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as the wrapped one's
        found = getattr(self._wrapped, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
            return self._settled(found(*args, **kwargs))

        return call

    def _settled(self, result: Any) -> Any:  # noqa: ANN401
        if inspect.iscoroutine(result):
            return self._loop.run(result)
        if inspect.isasyncgen(result):
            return _iterate(cast("AsyncIterator[Any]", result), self._loop)
        if hasattr(result, "__aenter__"):
            return _entered(result, self._loop)
        return result


class BlockingSandboxes(Blocking):
    """`Sandboxes` for code that is not async, as a context manager.

    Example:
        with BlockingSandboxes(connect(settings)) as sandboxes:
            sandboxes.acquire("thread-1")
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes, _LoopThread())

    def __enter__(self) -> Self:
        self._loop.run(self._wrapped.open())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._wrapped.close())
        finally:
            self._loop.close()

    def thread(self, thread_id: str, **options: Any) -> Blocking:  # noqa: ANN401
        """Return a `ThreadSandbox` of the same kind."""
        return Blocking(ThreadSandbox(self._wrapped, thread_id, **options), self._loop)


async def _awaited(work: Awaitable[ResultT]) -> ResultT:
    return await work


def _iterate(events: AsyncIterator[Any], loop: _LoopThread) -> Iterator[Any]:
    try:
        while True:
            try:
                yield loop.run(anext(events))
            except StopAsyncIteration:
                return
    finally:
        if isinstance(events, AsyncGenerator):
            loop.run(events.aclose())


@contextmanager
def _entered(manager: AbstractAsyncContextManager[Any], loop: _LoopThread) -> Iterator[Any]:
    entered = loop.run(manager.__aenter__())
    if isinstance(entered, Download):
        chunks: Any = _iterate(entered.chunks, loop)
        entered = dataclasses.replace(entered, chunks=chunks)
    try:
        yield entered
    except BaseException as error:
        if not loop.run(manager.__aexit__(type(error), error, error.__traceback__)):
            raise
    else:
        loop.run(manager.__aexit__(None, None, None))
