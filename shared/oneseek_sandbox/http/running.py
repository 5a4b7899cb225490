"""The calls under way, so that a server that stops can end what does not end by itself."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import ShuttingDownError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["RunningCalls"]


class RunningCalls:
    """Knows the tasks that work for callers.

    Attributes:
        are_cut: The time to end is over; what is cancelled now is so by `cut`.
    """

    def __init__(self) -> None:
        self.are_cut = False
        self._tasks: set[asyncio.Task[object]] = set()

    def cut(self) -> None:
        """End what still runs; its callers are told so, and every further call."""
        self.are_cut = True
        for task in self._tasks:
            task.cancel()

    @contextmanager
    def known(self) -> Iterator[None]:
        """Let `cut` cancel this task."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101
        self._tasks.add(task)
        try:
            yield
        finally:
            self._tasks.discard(task)

    @contextmanager
    def call(self, verb: str) -> Iterator[None]:
        """Let `cut` end this task with an error for its caller.

        Raises:
            ShuttingDownError: The call was cut, or came too late.
        """
        if self.are_cut:
            raise self.error()
        try:
            with self.known():
                yield
        except asyncio.CancelledError:
            if not self.are_cut:
                raise
            raise self.error(verb) from None

    def error(self, verb: str = "") -> ShuttingDownError:
        """Return what the caller of a cut call is told."""
        if not verb:
            return ShuttingDownError(
                "This server is shutting down. Try again; the sandboxes keep running."
            )
        return ShuttingDownError(
            "This server stopped before the call ended; the sandbox stays. Try again, and look "
            "first at what was done. A command with request_id runs on: repeat the call with the "
            "same request_id for its answer.",
            may_have_run=True if verb == "execute" else None,
        )
