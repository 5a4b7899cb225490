"""The latest moment at which a stopping server ends, whatever still waits."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import threading
import time
import traceback
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.log_lines import flush_log

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["StopDeadline"]

log = logging.getLogger(__name__)

_EXIT_STATUS = 1
_INNERMOST_FRAMES = 3


class StopDeadline:
    """Ends this process when its stop takes too long, and logs what it still waited for.

    What hangs in a thread cannot be cancelled, and the interpreter waits for every thread when it
    ends: so from here on nothing else can be relied on.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._changed = threading.Condition()
        self._at: float | None = None

    def within(self, seconds: float) -> None:
        """End the process in so many seconds at the latest; each call may only shorten it."""
        with self._changed:
            began, at = self._at is not None, time.monotonic() + seconds
            self._at = at if self._at is None else min(at, self._at)
            self._changed.notify()
        if not began:
            threading.Thread(target=self._wait, name="stop-deadline", daemon=True).start()

    def _wait(self) -> None:
        with self._changed:
            while self._at is not None and (left := self._at - time.monotonic()) > 0:
                self._changed.wait(left)
        log.error(
            "Shutdown took too long and was cut off. Sandboxes are unaffected. Still waiting: %s",
            "; ".join([*_tasks(self._loop), *_threads()]) or "nothing known",
        )
        flush_log()
        os._exit(_EXIT_STATUS)


def _tasks(loop: asyncio.AbstractEventLoop) -> Iterator[str]:
    for task in asyncio.all_tasks(loop):
        names: list[str] = []
        step: Any = task.get_coro()
        while hasattr(step, "cr_await"):
            names.append(step.__qualname__)
            step = step.cr_await
        yield f"task {' > '.join(names)}"


def _threads() -> Iterator[str]:
    frames: dict[int, Any] = dict(sys._current_frames())  # noqa: SLF001 - there is no other way
    for thread in threading.enumerate():
        if thread.daemon or thread is threading.main_thread() or thread.ident not in frames:
            continue
        stack = traceback.extract_stack(frames[thread.ident])[-_INNERMOST_FRAMES:]
        places = " > ".join(f"{each.name} ({each.filename}:{each.lineno})" for each in stack)
        yield f"thread {thread.name}: {places}"
