"""The event loop that sandboxes live in, and the way there from any thread and any loop."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

from oneseek_sandbox.client.blocking import BlockingThreadSandbox

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["Home", "HomeOfThread"]

ResultT = TypeVar("ResultT")


class Home:
    """Runs coroutines where `Sandboxes` have their connections and their locks.

    Args:
        loop: That of `BlockingSandboxes` or one of its threads. None: the loop that is running now,
            or that first awaits.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop | None) -> None:
        self._loop = loop or _running()

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


class HomeOfThread(Home):
    """The home of one thread's sandbox.

    Attributes:
        thread: The `ThreadSandbox` itself.
    """

    def __init__(self, thread: ThreadSandbox | BlockingThreadSandbox) -> None:
        self.thread: ThreadSandbox
        if isinstance(thread, BlockingThreadSandbox):
            super().__init__(thread.loop)
            self.thread = thread.wrapped
        else:
            super().__init__(None)
            self.thread = thread


def _running() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None
