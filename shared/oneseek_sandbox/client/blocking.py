"""The same, for code that is not async: a loop in a thread of its own, and no second copy."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import inspect
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from oneseek_sandbox.client.sandboxes import Download
from oneseek_sandbox.client.thread import ThreadSandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Iterator
    from contextlib import AbstractAsyncContextManager
    from typing import Self

    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["Blocking", "BlockingSandboxes"]

ResultT = TypeVar("ResultT")

_END_SECONDS: Final = 5.0


class _LoopThread:
    """An event loop that runs in a thread until it is closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._process = os.getpid()
        self._is_closing = False
        self._settling: set[asyncio.Future[object]] = set()
        self._thread = threading.Thread(
            target=self._loop.run_forever, name="oneseek-sandbox", daemon=True
        )
        self._thread.start()

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop itself, for who schedules work there."""
        return self._loop

    def run(self, work: Awaitable[ResultT]) -> ResultT:
        """Await something there and return its result; an interrupt ends it first.

        Raises:
            RuntimeError: The sandboxes are closed, or this process is a fork of the one that opened
                them: there is no loop in it.
        """
        if self._is_closing or os.getpid() != self._process:
            if inspect.iscoroutine(work):
                work.close()
            raise RuntimeError("These sandboxes are closed, or were opened in another process.")
        return self._wait(work)

    def settle(self, work: Awaitable[object]) -> None:
        """Do the same for work that tidies up: where waiting would be for oneself, only begin it."""
        if threading.current_thread() is self._thread:
            begun = asyncio.ensure_future(work, loop=self._loop)
            self._settling.add(begun)  # a loop holds its tasks weakly
            begun.add_done_callback(self._settling.discard)
        elif not self._is_closing:
            self.run(work)

    def close(self) -> None:
        """End what is under way, stop the loop and wait for the thread."""
        if self._is_closing:
            return
        self._is_closing = True
        if os.getpid() != self._process:
            return  # the thread is the parent's
        self._wait(_end_all_other_tasks())
        self._wait(self._loop.shutdown_asyncgens())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _wait(self, work: Awaitable[ResultT]) -> ResultT:
        ended = threading.Event()

        async def watched() -> ResultT:
            try:
                return await work
            finally:
                ended.set()

        future = asyncio.run_coroutine_threadsafe(watched(), self._loop)
        try:
            return future.result()
        except BaseException:
            # Waited for, so that what comes next does not meet it half ended.
            future.cancel()
            ended.wait(_END_SECONDS)
            raise


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
        try:
            self._loop.run(self._wrapped.open())
        except BaseException:
            self._loop.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._loop.run(self._wrapped.close())
        finally:
            self._loop.close()

    def thread(self, thread_id: str, **options: Any) -> Blocking:  # noqa: ANN401
        """Return a `ThreadSandbox` of the same kind."""
        return Blocking(ThreadSandbox(self._wrapped, thread_id, **options), self._loop)


async def _end_all_other_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


def _iterate(events: AsyncIterator[Any], loop: _LoopThread) -> Iterator[Any]:
    try:
        while True:
            try:
                yield loop.run(anext(events))
            except StopAsyncIteration:
                return
    finally:
        if isinstance(events, AsyncGenerator):
            loop.settle(events.aclose())


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
