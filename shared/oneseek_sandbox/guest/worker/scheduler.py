"""Coroutines in one thread: epoll, timers, conditions and locks."""

from __future__ import annotations

import contextlib
import heapq
import os
import select
import time
from collections import deque
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import log_fault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Coroutine, Generator
    from typing import NoReturn

    from oneseek_sandbox.guest.worker.connection import Connection

__all__ = ["Condition", "Locks", "Scheduler", "Task", "Wait", "read_ready", "sleep", "turn"]


class Wait:
    """Suspend the running task until a descriptor is ready, the time is over, or it is woken.

    Gives the epoll events that came, 0 when time was over or it was woken.
    """

    __slots__ = ("deadline", "fd", "mask", "task")

    def __init__(self, fd: int = -1, mask: int = 0, deadline: float | None = None) -> None:
        self.fd = fd
        self.mask = mask
        self.deadline = deadline
        self.task: Task | None = None

    def __await__(self) -> Generator[Wait, int, int]:
        return (yield self)


class Task:
    """A coroutine and what it waits for."""

    __slots__ = ("coroutine", "wait")

    def __init__(self, coroutine: Coroutine[Wait, int, None]) -> None:
        self.coroutine = coroutine
        self.wait: Wait | None = None


class Scheduler:
    """Runs coroutines in one thread: epoll, a heap of timers, a queue of what is ready."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._ready: deque[tuple[Task, int | None]] = deque()
        self._tasks: dict[int, Task] = {}
        self._timers: list[tuple[float, int, Wait]] = []
        self._timer_limit = 64
        self._serial = 0

    def spawn(self, coroutine: Coroutine[Wait, int, None]) -> None:
        """Start a coroutine at the next turn; what it raises is logged."""
        self._ready.append((Task(coroutine), None))

    def wake(self, wait: Wait) -> None:
        """Resume the task that waits; nothing happens when it was resumed already."""
        self._resume(wait, 0)

    def run(self) -> NoReturn:
        """Run for ever."""
        while True:
            self._poll()
            for _ in range(len(self._ready)):
                task, events = self._ready.popleft()
                self._step(task, events)

    def _step(self, task: Task, events: int | None) -> None:
        try:
            wait = task.coroutine.send(events)  # type: ignore[arg-type]
        except StopIteration:
            return
        except Exception as error:  # noqa: BLE001 - PID 1 must outlive every fault of one request
            log_fault(error)
            return
        wait.task = task
        task.wait = wait
        if wait.deadline is not None and wait.deadline <= 0:
            self._resume(wait, 0, registered=False)
            return
        if wait.fd >= 0:
            self._tasks[wait.fd] = task
            self._epoll.register(wait.fd, wait.mask)
        if wait.deadline is not None:
            self._add_timer(wait)

    def _add_timer(self, wait: Wait) -> None:
        if len(self._timers) > self._timer_limit:
            # Waits that ended early would otherwise stay until their deadline.
            self._timers = [timer for timer in self._timers if timer[2].task is not None]
            heapq.heapify(self._timers)
            self._timer_limit = 2 * len(self._timers) + 64
        self._serial += 1
        heapq.heappush(self._timers, (wait.deadline or 0.0, self._serial, wait))

    def _resume(self, wait: Wait, events: int, *, registered: bool = True) -> None:
        task = wait.task
        if task is None:
            return
        wait.task = None
        task.wait = None
        if registered and wait.fd >= 0:
            self._epoll.unregister(wait.fd)
            del self._tasks[wait.fd]
        self._ready.append((task, events))

    def _poll(self) -> None:
        timeout = -1.0
        if self._ready:
            timeout = 0.0
        elif self._timers:
            timeout = max(0.0, self._timers[0][0] - time.monotonic())
        for fd, events in self._epoll.poll(timeout):
            wait = self._tasks[fd].wait
            if wait is not None:
                self._resume(wait, events)
        now = time.monotonic()
        while self._timers and (self._timers[0][2].task is None or self._timers[0][0] <= now):
            self._resume(heapq.heappop(self._timers)[2], 0)


async def turn() -> None:
    """Let every other task run once."""
    await Wait(deadline=0.0)


async def sleep(seconds: float) -> None:
    """Suspend for so many seconds."""
    await Wait(deadline=time.monotonic() + seconds)


class Condition:
    """Wakes everybody who waits on it; each looks for itself whether its time has come."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._waits: list[Wait] = []

    def notify(self) -> None:
        """Wake all."""
        for wait in self._waits:
            self._scheduler.wake(wait)

    async def wait(self, deadline: float | None = None, fd: int = -1, mask: int = 0) -> int:
        """Wait for a notice, the deadline, or events on `fd` (which are returned)."""
        wait = Wait(fd, mask, deadline)
        self._waits.append(wait)
        try:
            return await wait
        finally:
            self._waits.remove(wait)


async def read_ready(fd: int, most: int, changed: Condition | None = None) -> bytes | None:
    """Read what there is, empty at the end; None when it had to be waited for.

    Args:
        changed: A notice ends the wait too.
    """
    try:
        return os.read(fd, most)
    except BlockingIOError:
        if changed is None:
            await Wait(fd, select.EPOLLIN)
        else:
            await changed.wait(None, fd, select.EPOLLIN)
        return None
    except OSError:  # EIO: nobody has the other end of a terminal open any more
        return b""


class Locks:
    """One lock per key, held by at most one task; first come, first served is not promised."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._held: set[object] = set()
        self._changed = Condition(scheduler)

    @contextlib.asynccontextmanager
    async def held(self, key: object, connection: Connection) -> AsyncIterator[None]:
        """Wait until nobody holds `key`, then hold it; a caller that leaves meanwhile is lost."""
        while key in self._held:
            await connection.wait_for(self._changed)
        self._held.add(key)
        try:
            yield
        finally:
            self._held.discard(key)
            self._changed.notify()
