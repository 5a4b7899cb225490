"""Histories told by hand: one that keeps every promise, and for each check one that breaks it."""

from __future__ import annotations

from tests.faults.checker import check
from tests.faults.history import Recorder

__all__ = ["BROKEN", "Run", "file_lost", "honest"]


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
