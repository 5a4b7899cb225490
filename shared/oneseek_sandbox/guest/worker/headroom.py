"""Room for new commands, taken from what finished ones left behind."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from oneseek_sandbox.guest.worker.base import WorkerError
from oneseek_sandbox.guest.worker.processes import (
    read_process,
    read_processes,
    stop_everything,
    thaw,
)
from oneseek_sandbox.guest.worker.scheduler import Condition, sleep

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.guest.worker.base import NotStartedError
    from oneseek_sandbox.guest.worker.children import Children
    from oneseek_sandbox.guest.worker.command import Command
    from oneseek_sandbox.guest.worker.options import Options
    from oneseek_sandbox.guest.worker.processes import Process
    from oneseek_sandbox.guest.worker.scheduler import Scheduler

__all__ = [
    "COUNT_SECONDS",
    "COUNT_SHARE",
    "CROWDED_SECONDS",
    "MAX_ENDED_NAMES",
    "PRESSED_SECONDS",
    "Headroom",
]

PRESSED_SECONDS = 60.0
CROWDED_SECONDS = 0.25
COUNT_SECONDS = 0.05
COUNT_SHARE = 20  # at most one part of so many of our time goes into counting processes
MAX_ENDED_NAMES = 16


class Headroom:
    """Sees to it that what was left behind, or one command, does not keep others from starting.

    Args:
        running: The list that `Commands` keeps.
    """

    def __init__(
        self, scheduler: Scheduler, children: Children, running: list[Command], options: Options
    ) -> None:
        self._scheduler = scheduler
        self._children = children
        self._running = running
        self._max_processes = options.max_processes
        self._end_excess = options.end_excess
        self._keeping = False
        self._making = False
        self._changed = Condition(scheduler)
        self._made = -PRESSED_SECONDS
        self._ended: dict[str, int] = {}

    def keep(self) -> None:
        """Look after it while commands run, where there is something to look after."""
        watched = self._end_excess or self._children.left_behind
        if self._max_processes and watched and not self._keeping:
            self._keeping = True
            self._scheduler.spawn(self._keep())

    def is_crowded(self) -> bool:
        """Whether leftovers have brought the sandbox so near its limit that a command would fail."""
        if not self._children.left_behind or not self._max_processes:
            return False
        used, left = self._children.usage()
        return used > self._max_processes - self._max_processes // 8 and 2 * left > used

    def too_many(self, error: NotStartedError) -> WorkerError:
        """Return what to say of a command that others leave no room for."""
        if not self._running:
            return error  # nobody inside holds it: it is the machine that has no more
        used = self._children.usage()[0]
        most = f" of {self._max_processes}" if self._max_processes else ""
        return WorkerError(
            "too_many_commands",
            f"The command did not start: {error.reason}. What runs holds {used}{most} processes and "
            "threads of the sandbox. Wait for a command to end, cancel one by its request_id, or "
            'end all with cancel "*", which keeps the files.',
        )

    async def _keep(self) -> None:
        """See to it, while a command runs, that neither leftovers nor itself take all processes."""
        pause = COUNT_SECONDS if self._end_excess else CROWDED_SECONDS
        while self._running or (self._end_excess and self._children.left_behind):
            began = time.monotonic()
            if self._end_excess and self._children.usage()[0] > self._max_processes:
                await self._end_largest()
            elif self.is_crowded():
                await self.make(began)
            await sleep(max(pause, COUNT_SHARE * (time.monotonic() - began)))
        self._keeping = False

    async def _end_largest(self) -> None:
        """End what passes the limit, where the kernel does not refuse it: in pods, above all."""
        stop_everything()
        processes = read_processes()

        def threads(pids: Iterable[int]) -> int:
            return sum(processes[pid].threads for pid in pids if pid in processes)

        sizes = {command: threads(command.processes()) for command in self._running}
        largest = max(sizes, key=lambda command: sizes[command], default=None)
        if largest is not None and sizes[largest] >= threads(self._children.leftovers()):
            largest.stop("process_limit")
            while not largest.finished:
                await largest.changed.wait()
            thaw()
        else:
            await self.make(time.monotonic())

    async def make(self, since: float) -> bool:
        """End what finished commands left behind, newest first; False when there is nothing.

        That takes no new process. Half of them go, so that a server started long ago may stay; all
        go when they are multiplying, or when it is not long since room was made: what has filled
        the sandbox again would do so for ever.

        Args:
            since: What another task made after this moment is room enough.
        """
        while self._making:
            await self._changed.wait()
        if self._made > since:
            return True
        self._making = True
        try:
            return await self._make()
        finally:
            self._making = False
            self._changed.notify()

    async def _make(self) -> bool:
        before = self._children.leftovers()
        stopped = stop_everything()
        found = self._children.leftovers() if stopped else before
        if sum(process.threads for process in found.values()) < self._max_processes // 8:
            found = {}  # too little to help; running commands hold the rest
        chosen = sorted(found, key=lambda pid: (found[pid].begin, pid), reverse=True)
        calm = time.monotonic() - self._made > PRESSED_SECONDS
        if calm and found.keys() <= before.keys():
            chosen = chosen[: (len(chosen) + 1) // 2]
            await self._children.kill(
                lambda: [pid for pid in chosen if self._lives(pid, found[pid])]
            )
        elif found:
            await self._children.kill(lambda: list(self._children.leftovers()))
        if stopped:
            thaw()
        self._note_ended(found[pid].name for pid in chosen)
        if chosen:
            self._made = time.monotonic()
        return bool(chosen)

    @staticmethod
    def _lives(pid: int, known: Process) -> bool:
        process = read_process(pid)
        return process is not None and process.alive and process.begin == known.begin

    def _note_ended(self, names: Iterable[bytes]) -> None:
        for raw in names:
            name = raw.decode(errors="replace")
            if name not in self._ended and len(self._ended) >= MAX_ENDED_NAMES:
                name = "others"
            self._ended[name] = self._ended.get(name, 0) + 1

    def take_ended(self) -> dict[str, int]:
        """Return how many leftovers of which name were ended since the last answer."""
        ended, self._ended = self._ended, {}
        return ended
