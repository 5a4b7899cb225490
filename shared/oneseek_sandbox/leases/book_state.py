"""What a lease book holds, and how each lease in it begins and ends. Pure: no I/O and no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oneseek_sandbox.leases.ends import End, Ends
from oneseek_sandbox.leases.state import LeaseRecord
from oneseek_sandbox.leases.store import Doomed

if TYPE_CHECKING:
    from oneseek_sandbox.leases.state import Event
    from oneseek_sandbox.leases.store import Creation, EndReason, Lease, LeaseTerms, Thread

__all__ = ["BookState"]


@dataclass(slots=True)
class BookState:
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
    ) -> LeaseRecord:
        last = self.ends.last_of(thread, now_ms)
        record = LeaseRecord(
            thread=thread,
            sandbox_id=sandbox_id,
            generation=self._next_generation(now_ms, last.generation if last else 0),
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
        return record

    def _next_generation(self, now_ms: int, above: int) -> int:
        self.generation = max(now_ms, self.generation + 1, above + 1)
        return self.generation

    def _end_over(self, record: LeaseRecord, now_ms: int) -> Doomed | None:
        if record.state == "creating":
            return self._end(record, "lapse", now_ms, None)
        return self._end(record, "expire", now_ms, "expired")

    def _end(
        self,
        record: LeaseRecord,
        event: Event,
        now_ms: int,
        reason: EndReason | None,
        over: int = 0,
    ) -> Doomed | None:
        """End a lease; without a reason it is forgotten, as nobody was ever given its sandbox.

        Args:
            over: What is labelled with it or a lower generation is over; 0 for the lease's own.
        """
        record.move(event)
        del self.records[record.thread], self.threads[record.sandbox_id]
        self.notices.append(record.thread)
        if reason is not None:
            until_ms = now_ms + self.terms.ended_ms
            end = End(record.thread, over or record.generation, reason, until_ms)
            self.ends.remember(end, record.sandbox_id)
        if record.placement is None or reason is None:
            return None
        return self._doom(record.creation(), record.placement.uid, record.placement.name, reason)

    def _doom(self, creation: Creation, uid: str, name: str, reason: EndReason) -> Doomed:
        entry = Doomed(uid, name, creation.thread, creation.sandbox_id, creation.generation, reason)
        self.doomed.setdefault(uid, entry)
        return entry
