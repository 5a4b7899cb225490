"""The checker finds what breaks a promise in a history, and nothing in one that keeps them all."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from tests.faults.checker import check
from tests.faults.excuses import CANNOT_HOLD, FAULTS, PROMISES
from tests.faults.history import History, Recorder

ROOT = Path(__file__).parents[2]


class Run:
    """Writes a history by hand: each step takes a second."""

    def __init__(self, idle_ms=600_000):
        self.now_ms = 0
        self.recorder = Recorder(lambda: self.now_ms, seed=1, idle_ms=idle_ms, slack_ms=0)

    def step(self, seconds=1):
        self.now_ms += 1000 * seconds

    def call(self, verb, value=None, *, code=None, cut=False, after=1, **fields):
        self.step(after)
        number = self.recorder.call(verb, "t", **fields)
        self.step()
        if cut:
            self.recorder.cut(number)
        elif code:
            self.recorder.error(number, code)
        else:
            self.recorder.ok(number, **(value or {}))

    def acquire(self, sandbox_id="one", *, reused=False, restarted=False, **more):
        value = {"sandbox_id": sandbox_id, "generation": ["one", "two"].index(sandbox_id)}
        self.call("acquire", {**value, "reused": reused, "restarted": restarted}, **more)

    def write(self, content, **more):
        self.call("write_file", path="f", content=content, **more)

    def read(self, content=None, **more):
        more = more if content is not None else {"code": "file_not_found", **more}
        self.call("read_file", {"content": content}, path="f", **more)

    def release(self, **more):
        self.call("release", {"released": True, "already_released": False}, **more)

    def fault(self, name, **details):
        self.step()
        self.recorder.fault(name, **details)

    def found(self):
        return {finding.check for finding in check(self.recorder.history())}


def honest(run):
    run.acquire()
    run.write("a")
    run.acquire(reused=True)
    run.read("a")
    run.write("b", cut=True)
    run.read("a")
    run.fault("server_killed")
    run.read("b")
    run.call("execute", request_id="r1")
    run.recorder.ran("r1")
    run.release()
    run.call("read_file", path="f", code="sandbox_released", sandbox_id="one")
    run.acquire("two")
    run.read()
    run.step(3000)
    run.call("read_file", path="f", code="lease_not_found")
    run.recorder.sandboxes("t", [])


def untold(run):
    run.acquire(cut=True)
    run.acquire(reused=True)
    run.acquire(reused=True, after=121)


def told_late(run):
    run.acquire(reused=True)
    run.acquire()


def told_twice(run):
    run.acquire()
    run.acquire()


def two_sandboxes(run):
    run.acquire()
    run.release()
    run.acquire("two")
    run.call("ls", sandbox_id="one")


def two_objects(run):
    run.recorder.call("ls", "t")
    run.recorder.ok(1)
    run.recorder.sandboxes("t", ["a", "b"])


def older_generation(run):
    run.acquire("two")
    run.release()
    run.acquire("one")


def given_up(run):
    run.acquire()
    run.acquire("two")


def idle_too_long(run):
    run.acquire()
    run.step(3000)
    run.acquire(reused=True)


def wrong_reason(run):
    run.acquire()
    run.read(code="sandbox_lost")


def wrong_expiry(run):
    run.acquire()
    run.read(code="sandbox_expired")


def file_lost(run):
    run.acquire()
    run.write("a")
    run.read()


def overwritten_late(run):
    run.acquire()
    run.write("a", code="sandbox_unavailable")
    run.write("b")
    run.read("a")


def released_in_vain(run):
    run.acquire()
    run.write("a")
    run.release()
    run.acquire("two")
    run.read("a")


def restart_from_nowhere(run):
    run.acquire()
    run.acquire(reused=True, restarted=True)


def restart_told_twice(run):
    run.acquire()
    run.fault("worker_died")
    run.acquire(reused=True, restarted=True)
    run.acquire(reused=True, restarted=True)


def ran_twice(run):
    run.call("execute", request_id="r1", cut=True)
    run.call("execute", request_id="r1")
    run.recorder.ran("r1")
    run.recorder.ran("r1")


def attach(run, text, gaps=False):
    value = {"text": text, "gaps": gaps, "state": "running"}
    run.call("attach", value, request_id="r1", offset=0)


def typed_twice(run):
    run.acquire()
    attach(run, "0000\n")
    attach(run, "0000\n0000\n")


def read_otherwise(run):
    run.acquire()
    attach(run, "0000\n00")
    attach(run, "0000\n01")


def left_behind(run):
    run.recorder.left("object", "sandbox-1")


def internal_error(run):
    run.call("ls", code="internal")


def never_answered(run):
    run.recorder.call("ls", "t")


BROKEN = [
    (untold, "untold"),
    (told_late, "untold"),
    (told_twice, "told"),
    (two_sandboxes, "one_sandbox"),
    (two_objects, "one_sandbox"),
    (older_generation, "generation"),
    (given_up, "kept"),
    (idle_too_long, "idle"),
    (wrong_reason, "ended"),
    (wrong_expiry, "ended"),
    (file_lost, "files"),
    (overwritten_late, "stale_write"),
    (released_in_vain, "old_files"),
    (restart_from_nowhere, "restart_told"),
    (restart_told_twice, "restart_told"),
    (ran_twice, "once"),
    (typed_twice, "spoken"),
    (read_otherwise, "spoken"),
    (left_behind, "left"),
    (internal_error, "answered"),
    (never_answered, "answered"),
]


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
