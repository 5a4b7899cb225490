"""What happened in one run under faults: every call, every answer, every fault, in order.

A history is a list of events, kept as JSON lines so that it can be stored, read by people, and
judged again: `python -m tests.faults check history.jsonl`. The first line is the run itself.

    {"event": "run", "at": 0, "version": 1, "seed": 7, "idle_ms": 60000, "slack_ms": 0}
    {"event": "call", "at": 12, "call": 1, "verb": "write_file", "thread": "t0", "fields": {…}}
    {"event": "answer", "at": 31, "call": 1, "outcome": "ok", "value": {…}}
    {"event": "fault", "at": 40, "name": "server_killed"}
    {"event": "ran", "at": 52, "request_id": "r1"}
    {"event": "sandboxes", "at": 900, "thread": "t0", "uids": ["5and80"]}
    {"event": "left", "at": 990, "what": "object", "name": "sandbox-5and80"}

- `at` is in milliseconds of one clock that never jumps: the recorder's, not the store's.
- `call` numbers a call. `thread` is said even where the call named a `sandbox_id`; that then
  stands in `fields`, as whatever else was sent. What the checker reads of `fields`: `sandbox_id`,
  `path` and `content` of files (a content is written at most once in a run), `request_id`,
  `idle_timeout_seconds`, and `hold_ms`: how long the call's pin may hold the lease.
- `outcome` is `ok` with the answer in `value`; `error` with `code` (and `may_have_run`) there; or
  `cut`: nobody will ever know, since the server died, the connection did, or the caller left.
  A call without an answer at the end of a history hangs, and that is a finding.
- `fault` names are the rows of the table in `excuses.py`. A fault that hits one thread's sandbox
  says `thread`, and `since` where it took effect at some moment since then; one that moves the
  store's clock says `by_ms`; a store that went back, `back_ms`.
- `ran` is said by the sandbox, not by the answer: once for each time a command really started.
- `sandboxes` are the live sandbox objects of a thread when all is quiet.
- `left` is what should be gone and is not: process, folder, cgroup, socket, key, lease, doomed.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import Any, Literal, Self

__all__ = ["Call", "Event", "History", "Outcome", "Recorder"]

VERSION = 1

Event = dict[str, Any]
Outcome = Literal["ok", "error", "cut"]


class Recorder:
    """Keeps the events of a run as they happen.

    Args:
        now_ms: The clock of the run; any origin.
        about: What the header says: `seed`, `idle_ms`, `slack_ms` (how exact `now_ms` is against
            the store's clock), and whatever helps to run it again.
    """

    def __init__(self, now_ms: Callable[[], float], **about: object) -> None:
        self._now_ms = now_ms
        self._calls = 0
        self.events: list[Event] = []
        self._add("run", version=VERSION, **about)

    def call(self, verb: str, thread: str, **fields: object) -> int:
        """Note that a call is about to be made; returns its number."""
        self._calls += 1
        self._add("call", call=self._calls, verb=verb, thread=thread, fields=fields)
        return self._calls

    def ok(self, call: int, **value: object) -> None:
        """Note an answer; only what the checker reads needs to be in it."""
        self._add("answer", call=call, outcome="ok", value=value)

    def error(self, call: int, code: str, *, may_have_run: bool | None = None) -> None:
        """Note an error that the server answered."""
        self._add(
            "answer", call=call, outcome="error", value={"code": code, "may_have_run": may_have_run}
        )

    def cut(self, call: int) -> None:
        """Note that this call's answer never came and never will."""
        self._add("answer", call=call, outcome="cut", value={})

    def fault(self, name: str, **details: object) -> None:
        """Note a fault, at the moment it began to have effect."""
        self._add("fault", name=name, **details)

    def ran(self, request_id: str) -> None:
        """Note that a command started in a sandbox."""
        self._add("ran", request_id=request_id)

    def sandboxes(self, thread: str, uids: list[str]) -> None:
        """Note a thread's live sandbox objects, when all is quiet."""
        self._add("sandboxes", thread=thread, uids=uids)

    def left(self, what: str, name: str) -> None:
        """Note something that should be gone."""
        self._add("left", what=what, name=name)

    def history(self) -> History:
        """Return what was kept, to be checked or stored."""
        return History.of(self.events)

    def _add(self, event: str, **fields: object) -> None:
        self.events.append({"event": event, "at": round(self._now_ms(), 3), **fields})


@dataclass(slots=True)
class Call:
    """One call with its answer.

    Attributes:
        ended: When the answer came; infinite for one that was cut or never came.
        outcome: None when there is no answer at all.
    """

    number: int
    verb: str
    thread: str
    fields: dict[str, Any]
    began: float
    ended: float = inf
    outcome: Outcome | None = None
    value: dict[str, Any] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether it was answered as asked."""
        return self.outcome == "ok"

    @property
    def code(self) -> str:
        """The error's code, or nothing."""
        return str(self.value.get("code", "")) if self.outcome == "error" else ""

    def __str__(self) -> str:
        """Say it as a person would, for a finding."""
        shown = {k: v for k, v in {**self.fields, **self.value}.items() if v is not None}
        inner = ", ".join(f"{name}={value}" for name, value in shown.items())
        return f"#{self.number} {self.verb}({self.thread}: {inner}) {self.outcome}"


@dataclass(slots=True)
class History:
    """A run's events, with its calls put together."""

    about: Event
    events: list[Event]
    calls: list[Call]

    @classmethod
    def of(cls, events: list[Event]) -> Self:
        """Put a run's events together.

        Raises:
            ValueError: They are not a history, or one of another version.
        """
        if not events or events[0]["event"] != "run" or events[0]["version"] != VERSION:
            raise ValueError(f"This is not a history of version {VERSION}.")
        calls: dict[int, Call] = {}
        for event in events:
            if event["event"] == "call":
                calls[event["call"]] = Call(
                    event["call"], event["verb"], event["thread"], event["fields"], event["at"]
                )
            elif event["event"] == "answer":
                call = calls[event["call"]]
                call.outcome, call.value = event["outcome"], event["value"]
                call.ended = inf if call.outcome == "cut" else event["at"]
        return cls(events[0], events, list(calls.values()))

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a stored history."""
        return cls.of([json.loads(line) for line in path.read_text("utf-8").splitlines()])

    def write(self, path: Path) -> None:
        """Store it, an event a line."""
        path.write_text("".join(json.dumps(event) + "\n" for event in self.events), "utf-8")

    def named(self, event: str) -> list[Event]:
        """Return the events of one kind."""
        return [found for found in self.events if found["event"] == event]

    def faults(self, *names: str, thread: str | None = None) -> list[Event]:
        """Return the faults of these names that concern a thread; any thread for None."""
        return [
            fault
            for fault in self.named("fault")
            if fault["name"] in names and (thread is None or fault.get("thread") in (None, thread))
        ]
