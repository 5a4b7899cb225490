"""The whole control plane under simulated faults: every schedule keeps every promise.

`ONESEEK_FAULTS_SIMULATED` says how many schedules are run, `ONESEEK_FAULTS_SEED` with which the
first begins. A seed that fails runs again, the same, by `python -m tests.faults simulate SEED`.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.checker import check
from tests.faults.excuses import CANNOT_HOLD
from tests.faults.simulation.schedule import simulate

ROOT = Path(__file__).parents[2]
SCHEDULES = int(os.environ.get("ONESEEK_FAULTS_SIMULATED", "1000"))
FIRST = int(os.environ.get("ONESEEK_FAULTS_SEED", "0"))
FAULTS = {
    "server_killed",
    "server_paused",
    "store_answer_lost",
    "store_away",
    "store_emptied",
    "store_rolled_back",
    "clock_jumped",
    "worker_died",
    "sandbox_gone",
    "runtime_away",
    "caller_left",
}


@pytest.mark.faults
@pytest.mark.promise(1, 2, 3, 4, 5, 6, 7, 8, 9)
def test_every_promise_holds_in_every_schedule():
    met, answered, failed = set(), 0, []
    for seed in range(FIRST, FIRST + SCHEDULES):
        history = simulate(seed)
        met |= {fault["name"] for fault in history.named("fault")}
        answered += sum(call.ok for call in history.calls)
        if findings := check(history):
            failed.append((seed, *map(str, findings[:3])))
        assert len(failed) < 5, failed
    assert failed == []
    # Faults came, and yet most of the work was done: else nothing would have been tried.
    assert met == FAULTS or SCHEDULES < 100
    assert answered > 20 * SCHEDULES


def test_a_schedule_without_faults_has_no_findings_and_every_call_is_answered():
    quiet = [history for history in map(simulate, range(40)) if not history.named("fault")]
    assert len(quiet) > 3
    for history in quiet:
        assert check(history) == []


@pytest.mark.parametrize("seed", [7, 44])
def test_a_seed_gives_the_same_history_every_time(seed, tmp_path):
    first = simulate(seed)
    assert simulate(seed).events == first.events
    kept = [tmp_path / "first", tmp_path / "second"]
    first.write(kept[0])
    # Another process, where sets of strings have another order.
    command = [sys.executable, "-m", "tests.faults", "simulate", str(seed), str(kept[1])]
    environment = {**os.environ, "PYTHONHASHSEED": "11"}
    subprocess.run(
        command, cwd=ROOT, env=environment, check=False, capture_output=True, timeout=120
    )
    assert kept[0].read_text() == kept[1].read_text()


async def store_away_as_news_are_told(world):
    """Let no note arrive that news were heard, for longer than their teller is waited for."""
    take_news, taken = world.store.take_news, asyncio.Event()

    async def take_and_go(*args, **fields):
        if took := await take_news(*args, **fields):
            world.weather["store"].away = True
            taken.set()
        return took

    world.store.take_news = take_and_go
    try:
        await taken.wait()
    finally:
        world.store.take_news = take_news
    world.recorder.fault("store_away")
    await asyncio.sleep(16)
    world.weather["store"].clear()


def test_news_are_told_again_when_the_store_was_away_for_long_after_they_were_heard(monkeypatch):
    histories = [simulate(seed, store_away_as_news_are_told) for seed in (79, 82, 84)]
    assert [check(history) for history in histories] == [[]] * 3
    monkeypatch.delitem(CANNOT_HOLD, ("store_away",))
    found = [finding.check for history in histories for finding in check(history)]
    assert found == ["told"] * 3
