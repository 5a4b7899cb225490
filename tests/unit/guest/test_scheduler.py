"""The worker's scheduler: tasks in one thread, their waits and locks."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from oneseek_sandbox.guest.worker.scheduler import Condition, Locks, Scheduler, sleep, turn

if TYPE_CHECKING:
    pass


class Finished(Exception):  # noqa: N818
    """Ends a scheduler that otherwise runs for ever."""


def run(scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch, done: list[Any], count: int) -> None:
    original = scheduler._poll

    def poll() -> None:
        if len(done) >= count:
            raise Finished
        original()

    monkeypatch.setattr(scheduler, "_poll", poll)
    with pytest.raises(Finished):
        scheduler.run()


def test_tasks_wake_in_the_order_of_their_times(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []

    async def task(seconds: float) -> None:
        await sleep(seconds)
        done.append(seconds)

    for seconds in (0.03, 0.01, 0.02):
        scheduler.spawn(task(seconds))
    run(scheduler, monkeypatch, done, 3)
    assert done == [0.01, 0.02, 0.03]


def test_waits_that_ended_early_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []
    condition = Condition(scheduler)

    async def waiter() -> None:
        for _ in range(5000):
            await condition.wait(time.monotonic() + 600)
        done.append(len(scheduler._timers))

    async def notifier() -> None:
        while not done:
            condition.notify()
            await turn()

    scheduler.spawn(waiter())
    scheduler.spawn(notifier())
    run(scheduler, monkeypatch, done, 1)
    assert done[0] < 500


def test_a_fault_of_one_task_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    scheduler, done = Scheduler(), []

    async def faulty() -> None:
        raise ValueError("a secret")

    async def sound() -> None:
        await sleep(0.01)
        done.append(1)

    scheduler.spawn(faulty())
    scheduler.spawn(sound())
    run(scheduler, monkeypatch, done, 1)
    message = capfd.readouterr().err
    assert re.search(r"ValueError at scheduler\.py:\d+ test_scheduler\.py:\d+\n", message)
    assert "secret" not in message


def test_a_lock_is_held_by_one_task_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    scheduler, done = Scheduler(), []
    locks, inside = Locks(scheduler), []

    class Present:
        """A caller that does not leave."""

        async def wait_for(self, condition: Condition) -> None:
            await condition.wait()

    async def task(number: int) -> None:
        async with locks.held("key", Present()):
            inside.append(number)
            await sleep(0.001)
            assert inside == [number]
            inside.clear()
        done.append(number)

    for number in range(10):
        scheduler.spawn(task(number))
    run(scheduler, monkeypatch, done, 10)
    assert sorted(done) == list(range(10))
