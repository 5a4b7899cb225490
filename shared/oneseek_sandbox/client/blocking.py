"""The same client for code that is not async: its calls run in a loop in a thread of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.client.blocking_calls import SandboxesCalls, ThreadSandboxCalls
from oneseek_sandbox.client.loop_thread import LoopThread
from oneseek_sandbox.client.thread import ThreadSandbox

if TYPE_CHECKING:
    import asyncio
    from typing import Self

    from oneseek_sandbox import models
    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["BlockingSandboxes", "BlockingThreadSandbox"]


class BlockingSandboxes(SandboxesCalls):
    """`Sandboxes` for code that is not async, as a context manager.

    Example:
        with BlockingSandboxes(connect(settings)) as sandboxes:
            sandboxes.acquire("thread-1")
    """

    def __init__(self, sandboxes: Sandboxes) -> None:
        super().__init__(sandboxes, LoopThread())

    def __enter__(self) -> Self:
        self.open()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def wrapped(self) -> Sandboxes:
        """The async object; it belongs to `loop`."""
        return self._wrapped

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the async object lives."""
        return self._loop.loop

    def open(self) -> None:
        """Get ready, and raise what would make every call fail."""
        try:
            self._loop.run(self._wrapped.open())
        except BaseException:
            self._loop.close()
            raise

    def close(self) -> None:
        """Let go of connections, processes and the thread of this side; sandboxes stay."""
        try:
            self._loop.run(self._wrapped.close())
        finally:
            self._loop.close()

    def thread(
        self,
        thread_id: str,
        *,
        scope: str | None = None,
        idle_timeout_seconds: int | None = None,
        labels: dict[str, str] | None = None,
        env: dict[str, str] | None = None,
    ) -> BlockingThreadSandbox:
        """Return one thread's sandbox; the arguments are those of `ThreadSandbox`."""
        thread = ThreadSandbox(
            self._wrapped,
            thread_id,
            scope=scope,
            idle_timeout_seconds=idle_timeout_seconds,
            labels=labels,
            env=env,
        )
        return BlockingThreadSandbox(thread, self._loop)


class BlockingThreadSandbox(ThreadSandboxCalls):
    """`ThreadSandbox` for code that is not async; `BlockingSandboxes.thread` makes it."""

    @property
    def wrapped(self) -> ThreadSandbox:
        """The async object; it belongs to `loop`."""
        return self._wrapped

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Where the async object lives."""
        return self._loop.loop

    @property
    def thread_id(self) -> str:
        """The thread's id."""
        return self._wrapped.thread_id

    @property
    def scope(self) -> str | None:
        """Tenant or user; None for the key's own."""
        return self._wrapped.scope

    @property
    def acquired(self) -> models.AcquireAnswer | None:
        """The last acquire's answer; None before the first."""
        return self._wrapped.acquired
