"""An event loop in a thread of its own, and the way there for code that waits."""

from __future__ import annotations

import asyncio
import inspect
import os
import threading
from collections.abc import AsyncGenerator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeVar

from oneseek_sandbox.client.streams import BlockingDownload

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
    from contextlib import AbstractAsyncContextManager

    from oneseek_sandbox.client.streams import Download

__all__ = ["LoopThread"]

ResultT = TypeVar("ResultT")
ItemT = TypeVar("ItemT")

_END_SECONDS: Final = 5.0


class LoopThread:
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

    def iterate(self, items: AsyncIterator[ItemT]) -> Generator[ItemT, None, None]:
        """Yield what an async iterator gives; an async generator is closed with this one."""
        try:
            while True:
                try:
                    yield self.run(anext(items))
                except StopAsyncIteration:
                    return
        finally:
            if isinstance(items, AsyncGenerator):
                self._settle(_closed(items))

    @contextmanager
    def downloading(
        self, opening: AbstractAsyncContextManager[Download]
    ) -> Iterator[BlockingDownload]:
        """Enter and leave a download there."""
        file = self.run(opening.__aenter__())
        try:
            yield BlockingDownload(
                file.size, file.sha256, file.total_lines, file.truncated, self.iterate(file.chunks)
            )
        except BaseException as error:
            if not self.run(opening.__aexit__(type(error), error, error.__traceback__)):
                raise
        else:
            self.run(opening.__aexit__(None, None, None))

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

    def _settle(self, work: Awaitable[object]) -> None:
        """Await work that tidies up: where waiting would be for oneself, only begin it."""
        if threading.current_thread() is self._thread:
            begun = asyncio.ensure_future(work, loop=self._loop)
            self._settling.add(begun)  # a loop holds its tasks weakly
            begun.add_done_callback(self._settling.discard)
        elif not self._is_closing:
            self.run(work)
        elif inspect.iscoroutine(work):
            work.close()

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


async def _closed(items: AsyncGenerator[object, None]) -> None:
    await items.aclose()


async def _end_all_other_tasks() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
