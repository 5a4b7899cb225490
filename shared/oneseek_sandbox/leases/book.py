"""All leases of a store, and every transition as a method that is given the time.

Pure: no I/O and no clock. The port's docstrings say what each transition promises.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import SandboxReleasedError
from oneseek_sandbox.leases.ends import Ends
from oneseek_sandbox.leases.refusals import refusal
from oneseek_sandbox.leases.state import LeaseRecord
from oneseek_sandbox.leases.store import (
    Busy,
    Doomed,
    Expired,
    Granted,
    Released,
    Resolved,
    Suspected,
)

if TYPE_CHECKING:
    from oneseek_sandbox.leases.state import Event
    from oneseek_sandbox.leases.store import (
        Creation,
        EndReason,
        Lease,
        LeaseTerms,
        Placement,
        Thread,
    )

__all__ = ["LeaseBook"]


@dataclass(slots=True)
class LeaseBook:
    """The whole state of a lease store, as plain data.

    Attributes:
        threads: The thread of each live `sandbox_id`.
        doomed: By uid, oldest first.
        generation: The last one given out.
        notices: Threads whose waiters should look again; whoever wakes them empties it.
    """

    terms: LeaseTerms
    records: dict[Thread, LeaseRecord] = field(default_factory=dict)
    threads: dict[str, Thread] = field(default_factory=dict)
    ends: Ends = field(default_factory=Ends)
    doomed: dict[str, Doomed] = field(default_factory=dict)
    names: dict[str, int] = field(default_factory=dict)
    generation: int = 0
    notices: list[Thread] = field(default_factory=list)

    def acquire(
        self,
        thread: Thread,
        *,
        now_ms: int,
        attempt: str,
        sandbox_id: str,
        idle_ms: int | None = None,
        lost: str | None = None,
    ) -> Granted | Suspected | Creation | Busy:
        """Grant the lease, or begin a creation under the new `sandbox_id`."""
        found = self.records.get(thread)
        # What is over takes no room, also when this very call ends it.
        replaces = found is not None and now_ms < found.over_ms
        taken = self._taken(now_ms)
        record = self._settled(thread, now_ms)
        if record and record.state == "restarting" and now_ms >= record.deadline_ms:
            record.lapse()
        if record and record.state == "ready" and record.sandbox_id == lost:
            self._end(record, "lose", now_ms, "lost")
            record = None
        if record is None:
            if not replaces and 0 < self.terms.max_sandboxes <= taken:
                raise refusal("capacity", thread=thread)
            return self._begin(thread, now_ms, attempt, sandbox_id, idle_ms)
        if record.state != "ready" and record.attempt == attempt:
            return record.creation()
        if busy_until := record.busy_until_ms(now_ms):
            return Busy(deadline_ms=busy_until, wait_ms=busy_until - now_ms)
        if record.suspect:
            return Suspected(record.lease(now_ms))
        record.idle_ms = record.idle_ms if idle_ms is None else idle_ms
        record.use(now_ms)
        return Granted(record.lease(now_ms))

    def restart(
        self, thread: Thread, *, now_ms: int, sandbox_id: str, attempt: str
    ) -> Creation | Busy:
        """Begin to start a ready sandbox again, or take over a restart that lapsed."""
        record = self._settled(thread, now_ms)
        if record is None or record.sandbox_id != sandbox_id or record.state == "creating":
            raise refusal("creation_lost", thread=thread)
        if record.state == "restarting":
            if record.attempt == attempt:
                return record.creation()
            if now_ms < record.deadline_ms:
                return Busy(record.deadline_ms, record.deadline_ms - now_ms)
        return record.restart(attempt, now_ms + self.terms.creation_ms)

    def renew(self, creation: Creation, *, now_ms: int, above_generation: int = 0) -> Creation:
        """Prolong a creation and lift its generation above the given one."""
        record = self._held(creation, now_ms)
        if record is None or record.state == "ready":
            raise refusal("creation_lost", thread=creation.thread)
        record.move("renew")
        if record.generation <= above_generation:
            record.generation = self._next_generation(now_ms, above_generation)
        record.deadline_ms = now_ms + self.terms.creation_ms
        return record.creation()

    def commit(self, creation: Creation, placement: Placement, *, now_ms: int) -> Lease:
        """Make the lease ready; a repeat by the same attempt answers the lease."""
        record = self._held(creation, now_ms)
        if record is None:
            raise refusal("creation_lost", thread=creation.thread)
        if record.state == "ready":
            return record.lease(now_ms)
        record.commit(placement, now_ms, self.terms.lifetime_ms)
        self.notices.append(creation.thread)
        return record.lease(now_ms)

    def abandon(self, creation: Creation, *, now_ms: int, uid: str = "", name: str = "") -> None:
        """Give up a creation; doom what it made unless its successor may have taken it."""
        record = self._held(creation, now_ms)
        if record is not None and record.state != "ready":
            self._end(record, "abandon", now_ms, "lost" if record.placement else None)
        current = self.records.get(creation.thread)
        made = current.placement if current and current.state == "ready" else None
        if uid and (current is None or (made is not None and made.uid != uid)):
            self._doom(creation, uid, name, "lost")

    def resolve(self, sandbox_id: str, *, now_ms: int) -> Resolved:
        """Return the thread of a `sandbox_id`, and how it ended if it did."""
        thread = self.threads.get(sandbox_id)
        if thread is not None and self._settled(thread, now_ms):
            return Resolved(thread)
        if end := self.ends.of_sandbox(sandbox_id, now_ms):
            return Resolved(end.thread, end.reason)
        raise refusal("unknown", sandbox_id=sandbox_id)

    def pin(
        self,
        thread: Thread,
        *,
        now_ms: int,
        sandbox_id: str | None,
        pin_id: str,
        limit_ms: int,
        request: str | None = None,
    ) -> Lease:
        """Count activity and hold the lease for an operation."""
        record = self._settled(thread, now_ms)
        if record is None or sandbox_id not in (None, record.sandbox_id):
            raise self.ends.absence(thread, sandbox_id, now_ms)
        code = record.refuses(now_ms, named=sandbox_id is not None)
        if code := code or record.note(request, pin_id, self.terms.max_request_ids):
            raise refusal(code, thread=thread, sandbox_id=sandbox_id)
        record.use(now_ms)
        record.pins[pin_id] = now_ms + limit_ms
        return record.lease(now_ms)

    def unpin(
        self, lease: Lease, *, now_ms: int, pin_id: str, unstarted: str | None = None
    ) -> None:
        """Count activity and let the pin go; nothing when the lease is over or replaced."""
        record = self._settled(lease.thread, now_ms)
        if record is None or record.state == "creating" or record.sandbox_id != lease.sandbox_id:
            return
        record.use(now_ms)
        record.pins.pop(pin_id, None)
        record.erase(unstarted, lease, pin_id)
        if record.is_retired(now_ms):
            self.notices.append(lease.thread)

    def suspect(self, lease: Lease) -> None:
        """Mark a ready lease."""
        if record := self._seen(lease):
            record.mark(suspect=True)

    def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        if record := self._seen(lease):
            record.mark(suspect=False)

    def acknowledge_restart(self, lease: Lease) -> None:
        """Note that a restart was told."""
        if record := self._seen(lease):
            record.acknowledge_restart()

    def release(self, thread: Thread, *, now_ms: int, sandbox_id: str | None) -> Released:
        """End a lease, or say that it had ended."""
        record = self._settled(thread, now_ms)
        if record is not None and sandbox_id in (None, record.sandbox_id):
            return Released(False, self._end(record, "release", now_ms, "released"))
        refused = self.ends.absence(thread, sandbox_id, now_ms)
        lately = sandbox_id is None and self.ends.last_of(thread, now_ms)
        if lately or isinstance(refused, SandboxReleasedError):
            return Released(already=True, doomed=None)
        raise refused

    def lose(self, lease: Lease, *, now_ms: int) -> Doomed | None:
        """End a ready lease whose sandbox is gone."""
        record = self._seen(lease)
        return self._end(record, "lose", now_ms, "lost") if record else None

    def expire(self, limit: int, *, now_ms: int) -> Expired:
        """End what is over, longest due first."""
        self.ends.forget(now_ms)
        self.names = {name: until for name, until in self.names.items() if until > now_ms}
        due = [record for record in self.records.values() if record.over_ms <= now_ms]
        due.sort(key=lambda record: record.over_ms)
        ended = [self._end_over(record, now_ms) for record in due[:limit]]
        return Expired([doomed for doomed in ended if doomed], more=len(due) > limit)

    def once(self, name: str, ttl_ms: int, *, now_ms: int) -> bool:
        """Return True for the first call with this name within `ttl_ms`."""
        if self.names.get(name, 0) > now_ms:
            return False
        self.names[name] = now_ms + ttl_ms
        return True

    def _settled(self, thread: Thread, now_ms: int) -> LeaseRecord | None:
        """Return the thread's lease, after ending it if it is over: as if cleanup had just run."""
        record = self.records.get(thread)
        if record is not None and now_ms >= record.over_ms:
            self._end_over(record, now_ms)
            return None
        return record

    def _held(self, creation: Creation, now_ms: int) -> LeaseRecord | None:
        """Return the record that `creation` may change: a lapsed one is held until taken over."""
        record = self.records.get(creation.thread)
        if record is not None and record.state != "creating":
            record = self._settled(creation.thread, now_ms)
        fence = (creation.sandbox_id, creation.attempt)
        return record if record and (record.sandbox_id, record.attempt) == fence else None

    def _seen(self, lease: Lease) -> LeaseRecord | None:
        record = self.records.get(lease.thread)
        return record if record and record.state == "ready" and record.is_seen_by(lease) else None

    def _taken(self, now_ms: int) -> int:
        live = sum(record.over_ms > now_ms for record in self.records.values())
        return live + len(self.doomed)

    def _begin(
        self, thread: Thread, now_ms: int, attempt: str, sandbox_id: str, idle_ms: int | None
    ) -> Creation:
        last = self.ends.last_of(thread, now_ms)
        record = LeaseRecord(
            thread=thread,
            sandbox_id=sandbox_id,
            generation=self._next_generation(now_ms, 0),
            attempt=attempt,
            deadline_ms=now_ms + self.terms.creation_ms,
            idle_ms=self.terms.idle_ms if idle_ms is None else idle_ms,
            created_ms=now_ms,
            used_ms=now_ms,
            ended_generation=last.generation if last else 0,
            state="none",
        )
        record.move("begin")
        self.records[thread], self.threads[sandbox_id] = record, thread
        return record.creation()

    def _next_generation(self, now_ms: int, above: int) -> int:
        self.generation = max(now_ms, self.generation + 1, above + 1)
        return self.generation

    def _end_over(self, record: LeaseRecord, now_ms: int) -> Doomed | None:
        if record.state == "creating":
            return self._end(record, "lapse", now_ms, None)
        return self._end(record, "expire", now_ms, "expired")

    def _end(
        self, record: LeaseRecord, event: Event, now_ms: int, reason: EndReason | None
    ) -> Doomed | None:
        """End a lease; without a reason it is forgotten, as nobody was ever given its sandbox."""
        record.move(event)
        del self.records[record.thread], self.threads[record.sandbox_id]
        self.notices.append(record.thread)
        if reason is not None:
            self.ends.remember(record.creation(), reason, now_ms + self.terms.ended_ms)
        if record.placement is None or reason is None:
            return None
        return self._doom(record.creation(), record.placement.uid, record.placement.name, reason)

    def _doom(self, creation: Creation, uid: str, name: str, reason: EndReason) -> Doomed:
        entry = Doomed(uid, name, creation.thread, creation.sandbox_id, creation.generation, reason)
        self.doomed.setdefault(uid, entry)
        return entry
