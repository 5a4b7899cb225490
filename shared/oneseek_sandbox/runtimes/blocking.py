"""The threads of a runtime whose calls block."""

from __future__ import annotations

import asyncio
import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final, TypeVar

from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxError
from oneseek_sandbox.lasting import Lasting

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from oneseek_sandbox.runtimes.runtime import SandboxObject

__all__ = ["BlockingCalls"]

_THREADS: Final = 16
_ENDING_THREADS: Final = 8

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
        self._closed = False

    async def close(self) -> None:
        """Let calls that are under way end."""
        await self._making.close()
        self._closed = True
        for threads in (self._calls, self._ends):
            await asyncio.to_thread(threads.shutdown)

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
        return await asyncio.get_running_loop().run_in_executor(threads, call)


async def _withdraw(
    making: asyncio.Task[SandboxObject], end: Callable[[SandboxObject], Awaitable[object]]
) -> None:
    with contextlib.suppress(SandboxError):
        await end(await making)
