"""The event loop a thread's sandbox lives in, and the way there from any thread and any loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from oneseek_sandbox.client.blocking import BlockingThreadSandbox

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["Home"]

ResultT = TypeVar("ResultT")


class Home:
    """Runs coroutines where a `ThreadSandbox` has its connections and its lock.

    Args:
        thread: A `ThreadSandbox`, whose home is the loop that is running now or that first awaits;
            or one of `BlockingSandboxes.thread`, which brings its loop.

    Attributes:
        thread: The `ThreadSandbox` itself.
    """

    def __init__(self, thread: ThreadSandbox | BlockingThreadSandbox) -> None:
        self.thread: ThreadSandbox
        self._loop: asyncio.AbstractEventLoop | None
        if isinstance(thread, BlockingThreadSandbox):
            self.thread, self._loop = thread.wrapped, thread.loop
        else:
            self.thread, self._loop = thread, _running()

    def wait(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Return the result of `work`; an interrupt cancels it.

        Raises:
            RuntimeError: It would wait for its own thread, or there is no loop yet.
        """
        if self._loop is None or self._loop is _running():
            work.close()
            raise RuntimeError(
                "This sandbox belongs to the event loop of this thread: await the async method, or "
                "take the sandbox from BlockingSandboxes(...).thread(...)."
            )
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    async def join(self, work: Coroutine[None, None, ResultT]) -> ResultT:
        """Await `work`, from whichever loop."""
        here = asyncio.get_running_loop()
        if self._loop is None:
            self._loop = here
        if self._loop is here:
            return await work
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
