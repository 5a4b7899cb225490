"""All leases of a store, and every transition as a method that is given the time.

Pure: no I/O and no clock. The port's docstrings say what each transition promises.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.errors import SandboxReleasedError
from oneseek_sandbox.leases.background import hold, let_go
from oneseek_sandbox.leases.book_state import BookState
from oneseek_sandbox.leases.ends import End
from oneseek_sandbox.leases.refusals import refusal
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
    from oneseek_sandbox.leases.store import (
        Creation,
        Lease,
        Placement,
        Thread,
    )

__all__ = ["LeaseBook"]


class LeaseBook(BookState):
    """The transitions."""

    __slots__ = ()

    def acquire(
        self,
        thread: Thread,
        *,
        now_ms: int,
        attempt: str,
        sandbox_id: str,
        idle_ms: int | None = None,
        lost: Lease | None = None,
        labels: str | None = None,
        env: str | None = None,
    ) -> Granted | Suspected | Creation | Busy:
        """Grant the lease, or begin a creation under the new `sandbox_id`."""
        found = self.records.get(thread)
        # What is over takes no room, also when this very call ends it.
        replaces = found is not None and now_ms < found.over_ms
        taken = self._taken(now_ms)
        record = self._settled(thread, now_ms)
        if record and record.state == "restarting" and now_ms >= record.deadline_ms:
            record.lapse()
        if record and record.state == "ready" and lost and record.is_seen_by(lost):
            self._end(record, "lose", now_ms, "lost")
            record = None
        if record is None:
            if not replaces and 0 < self.terms.max_sandboxes <= taken:
                raise refusal("capacity", thread=thread)
            record = self._begin(thread, now_ms, attempt, sandbox_id, idle_ms)
            record.give(labels, env)
            return record.creation()
        if record.state != "ready" and record.attempt == attempt:
            return record.creation()
        if busy_until := record.busy_until_ms(now_ms):
            return Busy(deadline_ms=busy_until, wait_ms=busy_until - now_ms)
        record.give(labels, env)
        if record.suspect:
            return Suspected(record.lease(now_ms))
        record.idle_ms = record.idle_ms if idle_ms is None else idle_ms
        record.use(now_ms)
        return Granted(record.lease(now_ms))

    def busy_ms(self, thread: Thread, now_ms: int) -> int:
        """Return how long an acquire would have to wait."""
        record = self.records.get(thread)
        until_ms = record.busy_until_ms(now_ms) if record else 0
        return max(0, until_ms - now_ms)

    def restart(self, lease: Lease, *, now_ms: int, attempt: str) -> Creation | Busy:
        """Begin to start a ready sandbox again, or take over a restart that lapsed."""
        record = self._settled(lease.thread, now_ms)
        if record is None or not record.is_seen_by(lease) or record.state == "creating":
            raise refusal("creation_lost", thread=lease.thread)
        if record.state == "restarting":
            if record.attempt == attempt:
                return record.creation()
            if now_ms < record.deadline_ms:
                return Busy(record.deadline_ms, record.deadline_ms - now_ms)
        return record.restart(attempt, now_ms + self.terms.creation_ms)

    def renew(self, creation: Creation, *, now_ms: int, above_generation: int = 0) -> Creation:
        """Prolong a creation and lift its generation above the given one."""
        record = self._held(creation, now_ms)
        if record is None:
            raise refusal("creation_lost", thread=creation.thread)
        if record.state == "ready":
            return record.creation()
        record.move("renew")
        if record.generation <= above_generation:
            record.generation = self._next_generation(now_ms, above_generation)
        record.deadline_ms = now_ms + self.terms.creation_ms
        return record.creation()

    def commit(
        self,
        creation: Creation,
        placement: Placement,
        *,
        now_ms: int,
        created_ms: int = 0,
        idle_ms: int = 0,
        unasked: bool = False,
        labels: str = "",
        env_lost: bool = False,
    ) -> Lease:
        """Make the lease ready; a repeat by the same attempt answers the lease."""
        record = self._held(creation, now_ms)
        if record is None:
            raise refusal("creation_lost", thread=creation.thread)
        if record.state == "ready":
            return record.lease(now_ms)
        if record.state == "creating":
            record.inherit(labels, env_lost=env_lost)
        record.commit(
            placement,
            now_ms,
            self.terms.lifetime_ms,
            created_ms=created_ms,
            idle_ms=idle_ms,
            unasked=unasked,
        )
        self.notices.append(creation.thread)
        return record.lease(now_ms)

    def abandon(
        self, creation: Creation, *, now_ms: int, uid: str = "", name: str = ""
    ) -> Doomed | None:
        """Give up a creation; doom what it made unless its successor may have taken it."""
        ended: Doomed | None = None
        record = self._held(creation, now_ms)
        if record is not None and record.state != "ready":
            ended = self._end(record, "abandon", now_ms, "lost" if record.placement else None)
        current = self.records.get(creation.thread)
        made = current.placement if current and current.state == "ready" else None
        if uid and (current is None or (made is not None and made.uid != uid)):
            return self._doom(creation, uid, name, "lost")
        return ended

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
        sent: str | None = None,
        busy_ms: int = 0,
    ) -> Lease:
        """Count activity and hold the lease for an operation."""
        record = self._settled(thread, now_ms)
        if record is None or sandbox_id not in (None, record.sandbox_id):
            raise self.ends.absence(thread, sandbox_id, now_ms)
        code = record.refuses(now_ms, named=sandbox_id is not None)
        if code := code or record.note(request, sent, pin_id, self.terms.max_request_ids):
            raise refusal(code, thread=thread, sandbox_id=sandbox_id)
        record.use(now_ms)
        record.pins[pin_id] = now_ms + limit_ms
        if busy_ms:
            hold(record.pins, now_ms + busy_ms, record.ends_ms)
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

    def rest(self, lease: Lease, *, now_ms: int) -> None:
        """Note that nothing runs in the background any more."""
        record = self._seen(lease)
        if record is not None and now_ms >= record.expires_ms:
            let_go(record.pins, now_ms)

    def suspect(self, lease: Lease) -> None:
        """Mark a ready lease."""
        if record := self._seen(lease):
            record.mark(suspect=True)

    def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        if record := self._seen(lease):
            record.mark(suspect=False)

    def take_news(self, lease: Lease, *, now_ms: int, teller: str) -> bool:
        """Return whether `teller` is to tell what is new of a sandbox."""
        record = self._seen(lease)
        until_ms = now_ms + self.terms.creation_ms
        return record is not None and record.take_news(teller, now_ms, until_ms)

    def settle_news(self, lease: Lease, *, teller: str, heard: bool) -> None:
        """Note what became of the news."""
        if record := self._seen(lease):
            record.settle_news(teller, heard=heard)
            self.notices.append(lease.thread)

    def release(
        self, thread: Thread, *, now_ms: int, sandbox_id: str | None, found_generation: int = 0
    ) -> Released:
        """End a lease, or say that it had ended."""
        record = self._settled(thread, now_ms)
        if record is not None and sandbox_id in (None, record.sandbox_id):
            # Of all that was labelled until now, with whatever generation, nothing comes back.
            over = self._next_generation(now_ms, record.generation)
            return Released(False, self._end(record, "release", now_ms, "released", over), over)
        if record is None and found_generation:
            over = self._next_generation(now_ms, found_generation)
            end = End(thread, over, "released", now_ms + self.terms.ended_ms)
            known = sandbox_id in self.threads or self.ends.of_sandbox(sandbox_id or "", now_ms)
            self.ends.remember(end, None if known else sandbox_id)
            return Released(already=False, doomed=None, generation=over)
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
