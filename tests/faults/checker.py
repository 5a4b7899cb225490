"""Judges a history: says where it breaks a promise, and never without being sure.

Each check is a function of one thread's part of a history (`_CHECKS`); a call whose answer was cut
may or may not have happened, and a sandbox *may* be over from the first moment at which it can
have been released, expired, or lost. What a fault makes impossible is in `excuses.py`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import pairwise
from math import inf
from typing import Final

from tests.faults.excuses import CANNOT_HOLD, PROMISES
from tests.faults.history import Call, History
from tests.faults.thread_history import DATA_VERBS, ENDS, ThreadHistory

__all__ = ["Finding", "check"]

_STORE_LOSSES: Final = ("store_emptied", "store_rolled_back")


@dataclass(frozen=True, slots=True)
class Finding:
    """A promise that did not hold.

    Attributes:
        check: One of `excuses.PROMISES`.
        text: What was seen, for a person.
    """

    check: str
    thread: str
    text: str

    @property
    def promises(self) -> tuple[int, ...]:
        """The lease promises that are broken."""
        return PROMISES[self.check]

    def __str__(self) -> str:
        """Say it in one line."""
        return f"{self.check} ({self.thread}): {self.text}"


def check(history: History) -> list[Finding]:
    """Return what a history breaks; nothing for one in which every promise held."""
    met = {fault["name"] for fault in history.named("fault")}
    excused = {
        name for faults, names in CANNOT_HOLD.items() if met.issuperset(faults) for name in names
    }
    findings = [*_once(history), *_left(history)]
    for thread in sorted({call.thread for call in history.calls if call.thread}):
        part = ThreadHistory(history, thread)
        for name, look in _CHECKS.items():
            if name not in excused:
                findings += [Finding(name, thread, text) for text in look(part)]
    return [finding for finding in findings if finding.check not in excused]


def _untold(part: ThreadHistory) -> Iterator[str]:
    """Promise 1: a caller hears that a sandbox is new before any other is given it.

    Where times are not exact, a server may take for heard what was cut on its way.
    """
    slack = part.history.about.get("slack_ms", 0)
    for calls in _by_sandbox(part):
        told = [call.ended for call in calls if not call.value["reused"]]
        for call in calls:
            if call.value["reused"] and not any(end <= call.ended + slack for end in told):
                if not (slack and _cut_before(part, call)):
                    yield f"nobody was told that the sandbox is new before {call}"
                break


def _told(part: ThreadHistory) -> Iterator[str]:
    """Promise 1: exactly one caller hears it, if no answer was cut."""
    for calls in _by_sandbox(part):
        for first, second in pairwise(call for call in calls if not call.value["reused"]):
            if not _unheard(part, calls[0].began, second.ended):
                yield f"told as new twice: {first} and {second}"


def _by_sandbox(part: ThreadHistory) -> Collection[list[Call]]:
    answered: dict[str, list[Call]] = {}
    for call in part.acquired:
        answered.setdefault(call.value["sandbox_id"], []).append(call)
    return answered.values()


def _cut_before(part: ThreadHistory, call: Call) -> bool:
    """Return whether another acquire may have been told, and was cut before anybody could know."""
    return any(other.outcome == "cut" and other.began <= call.ended for other in part.of("acquire"))


def _unheard(part: ThreadHistory, start: float, end: float) -> bool:
    """Return whether an acquire between two moments was not answered with a sandbox."""
    return any(not c.ok and c.began <= end and c.ended >= start for c in part.of("acquire"))


def _one_sandbox(part: ThreadHistory) -> Iterator[str]:
    """Once a thread has another sandbox, the one of before answers nobody."""
    last: dict[str, Call] = {a.value["sandbox_id"]: a for a in part.acquired}
    for call in part.calls:
        mine = last.get(call.fields.get("sandbox_id", ""))
        if mine is None or not call.ok or call.verb not in DATA_VERBS:
            continue
        newer = [other for other in last.values() if mine.ended < other.began]
        newer = [other for other in newer if other.ended < call.began]
        if newer:
            yield f"{call} though the thread had another since {newer[0]}"
    for seen in part.history.named("sandboxes"):
        if seen["thread"] == part.thread and len(seen["uids"]) > 1:
            yield f"live at once: {', '.join(seen['uids'])}"


def _generation(part: ThreadHistory) -> Iterator[str]:
    """Generations only grow, and one belongs to one sandbox."""
    for earlier in part.acquired:
        for later in part.acquired:
            if earlier.ended >= later.began:
                continue
            same = earlier.value["sandbox_id"] == later.value["sandbox_id"]
            grown = later.value["generation"] - earlier.value["generation"]
            if grown < 0 or (grown == 0 and not same):
                yield f"{later} after {earlier}"


def _kept(part: ThreadHistory) -> Iterator[str]:
    """A thread keeps its sandbox until it can have ended; an emptied store gives it a new id."""
    for first, second in pairwise(part.acquired):
        if first.value["sandbox_id"] == second.value["sandbox_id"] or part.faults(*_STORE_LOSSES):
            continue
        if first.ended < second.began and not part.may_end(first.began, second.ended):
            yield f"given up without a cause between {first} and {second}"


def _idle(part: ThreadHistory) -> Iterator[str]:
    """An expired lease is never handed out. An emptied store adopts, and counts anew."""
    if part.faults("store_emptied"):
        return
    for call in part.calls:
        before = [a for a in part.acquired if a.ended < call.began]
        if not before or not call.ok or call.verb not in {"acquire", *DATA_VERBS}:
            continue
        used = before[-1].value["sandbox_id"]
        again = call.value.get("sandbox_id", used) == used
        if again and part.surely_over(call.began):
            yield f"{call} though it had been idle for too long"


def _ended(part: ThreadHistory) -> Iterator[str]:
    """What an error says of the end of a sandbox is true."""
    lost = (*ENDS, "worker_died", *_STORE_LOSSES)
    for call in part.calls:
        moment = call.ended
        if call.code == "sandbox_released":
            true = any(release.began < moment for release in part.of("release"))
        elif call.code == "sandbox_expired":
            true = any(since < moment for since, _ in part.idle_times())
        elif call.code == "sandbox_lost":
            true = any(fault["at"] < moment for fault in part.faults(*lost))
        elif call.code == "lease_not_found":
            first = next(iter(part.acquired), None)
            true = first is None or first.ended >= call.began or part.may_end(first.began, moment)
            true = true or any(f["at"] < moment for f in part.faults(*_STORE_LOSSES))
        else:
            continue
        if not true:
            yield f"not true: {call}"


def _files(part: ThreadHistory) -> Iterator[str]:
    """What was acknowledged is read again, until the sandbox can have ended."""
    for read, written in _reads(part):
        if read.code != "file_not_found":
            continue
        for write in written:
            if write.ok and write.ended < read.began and not part.may_end(write.began, read.ended):
                yield f"{read} after {write}"


def _stale_write(part: ThreadHistory) -> Iterator[str]:
    """A write is not undone by one that was over before it, answered or not."""
    for read, written in _reads(part):
        source = [write for write in written if read.ok and _content(write) == _content(read)]
        if read.ok and not source:
            yield f"{read}, which nobody wrote"
        for write in source:
            over = write.ended if write.outcome in ("ok", "error") else inf
            for later in written:
                # An acquire in between may have given the thread older files: not this check.
                if later.ok and over < later.began and later.ended < read.began:
                    yield f"{read} of {write} over {later}"


def _old_files(part: ThreadHistory) -> Iterator[str]:
    """What was written before a release is never read after it."""
    released = [c for c in part.of("release") if c.ok and c.value["released"]]
    for read, written in _reads(part):
        for write in written:
            if not read.ok or _content(write) != _content(read):
                continue
            for release in released:
                if write.ended < release.began and release.ended < read.began:
                    yield f"{read} of {write} in spite of {release}"


def _reads(part: ThreadHistory) -> Iterator[tuple[Call, list[Call]]]:
    """Give every read of a file with the writes that had begun when it was answered."""
    writes = part.of("write_file")
    for read in part.of("read_file"):
        path = read.fields["path"]
        yield read, [w for w in writes if w.fields["path"] == path and w.began <= read.ended]


def _content(call: Call) -> object:
    return call.fields["content"] if call.verb == "write_file" else call.value.get("content")


def _restart_told(part: ThreadHistory) -> Iterator[str]:
    """Of a restart at least one caller hears, exactly one if no answer was cut."""
    died = [fault["at"] for fault in part.faults("worker_died")]
    for start, end in pairwise([-inf, *died, inf]):
        told = [a for a in part.acquired if start < a.began and a.ended < end]
        told = [call for call in told if call.value["restarted"]]
        if start == -inf and told:
            yield f"no worker died before {told[0]}"
        cut = told and _unheard(part, told[0].began, told[-1].ended)
        if len(told) > 1 and not cut and not _overlap(told):
            yield f"told twice: {told[0]} and {told[1]}"


def _overlap(calls: list[Call]) -> bool:
    return any(later.began <= earlier.ended for earlier, later in pairwise(calls))


def _spoken(part: ThreadHistory) -> Iterator[str]:
    """What a process was given it reads once, in order, and every reader reads the same."""
    longest: dict[str, Call] = {}
    for call in part.of("attach"):
        if not call.ok or call.value["gaps"] or call.fields.get("offset") != 0:
            continue
        text = call.value["text"]
        lines = text.split("\n")[:-1]
        if lines != [f"{number:04}" for number in range(len(lines))]:
            yield f"typed otherwise than it was sent: {call}"
        known = longest.setdefault(call.fields["request_id"], call)
        if not (text.startswith(known.value["text"]) or known.value["text"].startswith(text)):
            yield f"{call} read otherwise than {known}"
        if len(text) > len(known.value["text"]):
            longest[call.fields["request_id"]] = call


def _answered(part: ThreadHistory) -> Iterator[str]:
    """Every call is answered, and never with an error that nobody meant."""
    for call in part.calls:
        if call.outcome is None:
            yield f"never answered: {call}"
        elif call.code in ("internal", "configuration"):
            yield str(call)


def _once(history: History) -> Iterator[Finding]:
    """A `request_id` starts at most one command."""
    threads = {c.fields["request_id"]: c.thread for c in history.calls if "request_id" in c.fields}
    for request_id, times in Counter(e["request_id"] for e in history.named("ran")).items():
        if times > 1:
            yield Finding("once", threads.get(request_id, ""), f"{request_id} ran {times} times")


def _left(history: History) -> Iterator[Finding]:
    """At the end nothing is left of what was ended."""
    for event in history.named("left"):
        yield Finding("left", "", f"{event['what']} {event['name']}")


_CHECKS: Final[dict[str, Callable[[ThreadHistory], Iterator[str]]]] = {
    "untold": _untold,
    "told": _told,
    "one_sandbox": _one_sandbox,
    "generation": _generation,
    "kept": _kept,
    "idle": _idle,
    "ended": _ended,
    "files": _files,
    "stale_write": _stale_write,
    "old_files": _old_files,
    "restart_told": _restart_told,
    "spoken": _spoken,
    "answered": _answered,
}
