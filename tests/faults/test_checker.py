"""The checker finds what breaks a promise in a history, and nothing in one that keeps them all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.checker import check
from tests.faults.excuses import CANNOT_HOLD, FAULTS, PROMISES
from tests.faults.history import History
from tests.faults.told_histories import BROKEN, Run, file_lost, honest

ROOT = Path(__file__).parents[2]


def test_a_history_that_keeps_every_promise_has_no_findings():
    run = Run()
    honest(run)
    assert check(run.recorder.history()) == []


@pytest.mark.parametrize(("tell", "name"), BROKEN, ids=lambda given: getattr(given, "__name__", ""))
def test_what_breaks_a_promise_is_found(tell, name):
    run = Run()
    tell(run)
    assert run.found() == {name}


def test_every_check_has_a_history_that_breaks_it():
    assert {name for _, name in BROKEN} == set(PROMISES)


@pytest.mark.parametrize(
    ("faults", "name"), [(faults, name) for faults in CANNOT_HOLD for name in CANNOT_HOLD[faults]]
)
def test_what_faults_make_impossible_is_excused(faults, name):
    assert set(FAULTS).issuperset(faults)
    for tell in [tell for tell, broken in BROKEN if broken == name]:
        run = Run()
        for fault in faults:
            run.fault(fault, back_ms=0, by_ms=0)
        tell(run)
        assert name not in run.found()


def test_files_may_be_gone_after_what_can_have_ended_the_sandbox():
    for end in (
        lambda run: run.release(cut=True),
        lambda run: run.fault("sandbox_gone", thread="t"),
        lambda run: run.step(601),
        lambda run: run.fault("clock_jumped", by_ms=600_000),
    ):
        run = Run()
        run.acquire()
        run.write("a")
        end(run)
        run.read()
        assert run.found() == set(), end
    run = Run()
    run.acquire()
    run.write("a")
    run.fault("sandbox_gone", thread="another")
    run.fault("clock_jumped", by_ms=-600_000)
    run.read()
    assert run.found() == {"files"}


def test_a_sandbox_may_end_at_any_moment_since_its_end_was_asked_for():
    run = Run()
    run.acquire()
    asked = run.now_ms
    run.write("a")
    run.read()
    run.step(5)
    run.recorder.fault("sandbox_gone", thread="t", since=asked)
    assert run.found() == set()
    run = Run()
    run.acquire()
    run.write("a")
    run.read()
    run.step(5)
    run.recorder.fault("sandbox_gone", thread="t")
    assert run.found() == {"files"}


def test_what_an_unanswered_acquire_made_may_come_to_be_the_threads_much_later():
    """A cleanup adopts it, and its idle time begins then (found by seed 9595)."""
    for unanswered in ({"code": "store_unavailable"}, {"cut": True}):
        run = Run()
        run.acquire()
        run.release()
        run.acquire("two", **unanswered)
        run.step(3000)
        run.write("a")
        assert run.found() == set(), unanswered
        run.acquire("two", reused=False)
        run.step(3000)
        run.write("b")
        assert run.found() == {"idle"}


def test_a_sandbox_may_be_over_when_the_acquire_that_made_it_is_answered():
    """Found by seed 9844: its thread has no lease while another is made."""
    run = Run()
    number = run.recorder.call("acquire", "t")
    run.fault("sandbox_gone", thread="t")
    run.step()
    value = {"sandbox_id": "one", "generation": 0, "reused": False, "restarted": False}
    run.recorder.ok(number, **value)
    run.read(code="lease_not_found")
    assert run.found() == set()
    run = Run()
    run.fault("sandbox_gone", thread="t")
    run.acquire()
    run.read(code="lease_not_found")
    assert run.found() == {"ended"}


def test_a_history_is_stored_and_judged_again(tmp_path):
    run = Run()
    file_lost(run)
    kept = tmp_path / "history.jsonl"
    run.recorder.history().write(kept)
    again = History.read(kept)
    assert again.events == run.recorder.events
    assert check(again) == check(run.recorder.history())
    command = [sys.executable, "-m", "tests.faults", "check", str(kept)]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert re.search(r"3 calls, 1 findings\n  files \(t\): #3 read_file", told.stdout), told


def test_the_documentation_says_what_cannot_hold_and_nothing_else():
    text = (ROOT / "docs" / "reliability.md").read_text("utf-8")
    rows = re.findall(
        r"^\| (`\w+`(?: and `\w+`)*) \| `(\w+)` \| [\d, ]+ \| (.*) \|$", text, re.MULTILINE
    )
    told = {(tuple(re.findall(r"\w+(?=`)", faults)), name): why for faults, name, why in rows}
    assert told == {
        (f, name): why for f, names in CANNOT_HOLD.items() for name, why in names.items()
    }
