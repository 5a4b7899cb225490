"""An event loop whose time passes at once, and processes in it that can be killed or stand still.

What belongs to a process runs in its context (`contextvars`), and so does everything that it
starts. The loop looks before each callback: what belongs to a process that was killed never runs
again, without any cleaning up, as after kill -9; what belongs to one that stands still runs when
it goes on, wherever it was, and sees all the time that has passed, as after SIGSTOP.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from typing import Any, Literal

__all__ = ["Process", "StuckError", "VirtualLoop"]

_process: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class StuckError(Exception):
    """Raised when nothing is left that could ever happen."""


class Process:
    """Some tasks that live, stand still, and die together."""

    def __init__(self, name: str, loop: VirtualLoop) -> None:
        self.name = name
        self.died: asyncio.Future[None] = loop.create_future()
        self.state: Literal["running", "paused", "killed"] = "running"
        self._loop = loop
        self._held: list[_Gate] = []

    def context(self) -> contextvars.Context:
        """Return a context in which something of this process may run."""
        context = contextvars.Context()
        context.run(_process.set, self)
        return context

    def hold(self, gate: _Gate) -> None:
        """Keep what cannot run now."""
        self._held.append(gate)

    def pause(self) -> None:
        """Stand still."""
        self.state = "paused"

    def resume(self) -> None:
        """Go on with all that has come meanwhile."""
        self.state = "running"
        held, self._held = self._held, []
        for gate in held:
            gate.again(self._loop)

    def kill(self) -> None:
        """End, between two lines."""
        self.state = "killed"
        if not self.died.done():
            self.died.set_result(None)


class _Gate:
    """A callback that runs only while its process does."""

    __slots__ = ("_args", "_callback", "_context", "handle")

    def __init__(
        self, callback: Callable[..., Any], args: tuple[Any, ...], context: contextvars.Context
    ) -> None:
        self._callback, self._args, self._context = callback, args, context
        self.handle: asyncio.Handle | None = None

    def __call__(self) -> None:
        process = _process.get()
        if process is None or process.state == "running":
            self._callback(*self._args)
        else:
            process.hold(self)

    def again(self, loop: VirtualLoop) -> None:
        if self.handle is None or not self.handle.cancelled():
            loop.call_soon(self._callback, *self._args, context=self._context)


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs what is due, and goes to the next moment at which something is."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0
        self._clock_resolution = 1e-9
        self._selector = self

    def time(self) -> float:
        """Return the virtual time in seconds."""
        return self._now

    def select(self, timeout: float | None) -> list[Any]:
        """Pass the time until the next timer: no file is ever waited for here."""
        if timeout is None:
            raise StuckError("Everything waits, and nothing will happen.")
        self._now += timeout
        return []

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def _call_soon(self, callback: Any, args: Any, context: Any) -> asyncio.Handle:
        context = contextvars.copy_context() if context is None else context
        gate = _Gate(callback, args, context)
        gate.handle = super()._call_soon(gate, (), context)
        return gate.handle

    def call_at(self, when: float, callback: Any, *args: Any, context: Any = None) -> Any:
        """Schedule as asyncio does, for a process that may not be there any more."""
        context = contextvars.copy_context() if context is None else context
        gate = _Gate(callback, args, context)
        gate.handle = super().call_at(when, gate, context=context)
        return gate.handle
