"""The threads of a runtime whose calls block."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxError
from oneseek_sandbox.lasting import Lasting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from oneseek_sandbox.runtimes.runtime import SandboxObject

__all__ = ["BlockingCalls"]

_THREADS: Final = 16
_ENDING_THREADS: Final = 8
_CLOSE_SECONDS: Final = 5.0

_T = TypeVar("_T")


class BlockingCalls:
    """Runs a runtime's calls in threads, and undoes creations whose caller has gone.

    Deletions have threads of their own: many large ones must keep no acquire waiting.

    Args:
        name: Of the runtime, for the threads.
    """

    def __init__(self, name: str) -> None:
        self._calls = ThreadPoolExecutor(_THREADS, thread_name_prefix=f"{name}-runtime")
        self._ends = ThreadPoolExecutor(_ENDING_THREADS, thread_name_prefix=f"{name}-ends")
        self._making = Lasting()
        self._under_way: set[Future[Any]] = set()
        self._closed = False

    async def close(self, *, within_seconds: float = _CLOSE_SECONDS) -> None:
        """Let calls that are under way end; one that hangs is left alone in its thread."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + within_seconds
        await self._making.close(within_seconds=within_seconds)
        self._closed = True
        if calls := [asyncio.wrap_future(call) for call in list(self._under_way)]:
            await asyncio.wait(calls, timeout=max(0.0, deadline - clock()))
        for threads in (self._calls, self._ends):
            threads.shutdown(wait=False, cancel_futures=True)

    async def run(self, call: Callable[[], _T]) -> _T:
        """Run a call."""
        return await self._run_in(self._calls, call)

    async def end(self, call: Callable[[], _T]) -> _T:
        """Run a call that deletes."""
        return await self._run_in(self._ends, call)

    async def make(
        self,
        create: Coroutine[Any, Any, SandboxObject],
        end: Callable[[SandboxObject], Awaitable[object]],
    ) -> SandboxObject:
        """Create a sandbox; what a thread goes on making for a cancelled call is ended."""
        making = self._making.begin(create)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            self._making.begin(_withdraw(making, end))
            raise

    async def _run_in(self, threads: ThreadPoolExecutor, call: Callable[[], _T]) -> _T:
        if self._closed:
            raise RuntimeUnavailableError("The runtime is closed.")
        under_way = threads.submit(call)
        self._under_way.add(under_way)
        under_way.add_done_callback(self._under_way.discard)
        return await asyncio.wrap_future(under_way)


async def _withdraw(
    making: asyncio.Task[SandboxObject], end: Callable[[SandboxObject], Awaitable[object]]
) -> None:
    with contextlib.suppress(SandboxError):
        await end(await making)
