"""What else a live history must hold: power cuts, errors that say too little, answers never meant."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from tests.faults.history import Call, History

__all__ = ["look_again"]

_MAY_BE_ANSWERED = {
    "creation_lost", "capacity", "lease_not_found",
    "sandbox_released", "sandbox_lost",
    "file_not_found", "disk_full", "text_not_found",
    "answer_evicted", "answer_lost", "command_not_started", "too_many_commands",
    # Of a process whose start, or input before this one, nobody knows of; or that was restarted.
    "process_not_found", "process_lost", "process_ended", "stdin_closed", "input_gap",
    "store_unavailable", "runtime_unavailable", "sandbox_unavailable", "sandbox_start_failed",
    "shutting_down", "unavailable",
}  # fmt: skip
"""What a well-made call of the traffic may be refused with under some fault."""


def look_again(history: History) -> list[str]:
    """Return what a history of a real system breaks beyond the checks of all histories."""
    return [*_meant(history), *_may_have_run(history), *_power(history)]


def _meant(history: History) -> Iterator[str]:
    for call in history.calls:
        if call.code and call.code not in _MAY_BE_ANSWERED | {"internal", "configuration"}:
            yield f"unexpected: {call}"


def _may_have_run(history: History) -> Iterator[str]:
    """A command that began is never called one that did not."""
    ran = Counter(event["request_id"] for event in history.named("ran"))
    asked: dict[str, list[Call]] = {}
    for call in history.calls:
        if "request_id" in call.fields:
            asked.setdefault(call.fields["request_id"], []).append(call)
    for request_id, calls in asked.items():
        if any(call.ok for call in calls) and not ran[request_id]:
            yield from _said_but_not_seen(history, calls)
        # Of one that was sent twice on the way, the history does not know which was answered.
        if len(calls) == 1 and ran[request_id] and not history.faults("request_done_twice"):
            call = calls[0]
            if call.outcome == "error" and not call.value.get("may_have_run"):
                yield f"may_have_run: {call} ran"


def _said_but_not_seen(history: History, calls: list[Call]) -> Iterator[str]:
    """A command that was answered has run, unless its log is gone with the power or a full disk."""
    done = next(call for call in calls if call.ok)
    if history.faults("power_cut", "disk_full") or done.value["exit_code"] != 0:
        return
    yield f"not run: {done}"


def _power(history: History) -> Iterator[str]:
    """A sandbox that was given out before a power cut is there after it; a released one is not."""
    for cut in history.faults("power_cut"):
        for thread in sorted({call.thread for call in history.calls if call.thread}):
            calls = [call for call in history.calls if call.thread == thread]
            before = [c for c in calls if c.verb == "acquire" and c.ok and c.ended < cut["at"]]
            after = [c for c in calls if c.verb == "acquire" and c.ok and c.began > cut["at"]]
            if not before or not after:
                continue
            last = max(before, key=lambda call: call.ended)
            ended = [c for c in calls if c.verb == "release" and c.began < cut["at"]]
            if all(c.ended < last.began for c in ended) and not after[0].value["reused"]:
                yield f"power cut: {after[0]}, though {last} was answered before it"
            yield from _synced(calls, cut["at"])
            yield from _come_back(calls, cut["at"])


def _come_back(calls: list[Call], cut: float) -> Iterator[str]:
    """What was released before a power cut does not come back with it."""
    written = {c.fields["content"]: c for c in calls if c.verb == "write_file"}
    for read in calls:
        if read.verb != "read_file" or not read.ok or read.began < cut:
            continue
        write = written.get(read.value["content"])
        for release in calls:
            if release.verb != "release" or not release.value.get("released"):
                continue
            if write and write.ended < release.began and release.ended < cut:
                yield f"power cut: {read} of {write} in spite of {release}"


def _synced(calls: list[Call], cut: float) -> Iterator[str]:
    """A file that a command synced is read again after a power cut, or something newer."""
    writes = [c for c in calls if c.verb == "write_file"]
    for write in writes:
        path = write.fields["path"]
        synced = [
            c for c in calls if c.fields.get("command") == f"sync {path}" and c.began > write.ended
        ]
        if not write.ok or not any(c.ok and c.ended < cut for c in synced):
            continue
        if any(c.verb == "release" and c.ended > write.began and c.began < cut for c in calls):
            continue
        newer = {
            w.fields["content"]
            for w in writes
            if w.fields["path"] == path and w.ended >= write.ended
        }
        for read in calls:
            if read.verb != "read_file" or read.began < cut or read.fields["path"] != path:
                continue
            old = read.ok and read.value["content"] not in newer
            if old or read.code == "file_not_found":
                yield f"power cut: {read} after {write}, which was synced"
