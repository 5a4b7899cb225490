"""What a lease store may never do, whatever it is asked, as relations of one step.

A step is a call with its answer, and all leases before and after it. Nothing here knows how a
store does its work, and nothing is repeated of it: each rule is a lease promise, by its number.
"""

from __future__ import annotations

from tests.contracts.lease_history import LeaseHistory, Step, reason_of, shows

from oneseek_sandbox.errors import (
    AnswerLostError,
    CreationLostError,
    SandboxError,
    SandboxExpiredError,
    SandboxLostError,
    SandboxReleasedError,
)
from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    Expired,
    Granted,
    Lease,
    Released,
    Suspected,
)

__all__ = ["BrokenPromiseError", "LeasePromises"]

_VERDICTS = ("acquire", "suspect", "clear", "lose")
_GONE = {
    "released": SandboxReleasedError,
    "expired": SandboxExpiredError,
    "lost": SandboxLostError,
}


class BrokenPromiseError(AssertionError):
    """Raised when a store did what it may never do."""

    def __init__(self, promise: int, text: str) -> None:
        super().__init__(f"promise {promise}: {text}")
        self.promise = promise


class LeasePromises(LeaseHistory):
    """Judges each step of one store."""

    def see(self, step: Step) -> None:
        """Judge a step.

        Raises:
            BrokenPromiseError: It breaks a promise.
        """
        for judge in (
            self._another_boot_judges_nothing,
            self._one_creation,
            self._generations_grow,
            self._late_writers_change_nothing,
            self._nothing_leaks,
            self._nothing_ends_without_a_cause,
            self._idle_means_idle,
            self._an_end_is_remembered,
            self._suspects_are_looked_at,
            self._news_are_told_until_heard,
            self._expiry_costs_what_is_due,
            self._a_request_is_sent_to_one_boot,
        ):
            judge(step)
        self.remember(step)

    def _one_creation(self, step: Step) -> None:
        """1, 2: one sandbox of a thread; a creation is taken over when it lapsed, not before."""
        if step.method != "acquire" or isinstance(step.answer, SandboxError):
            return
        thread, answer = step.fields["thread"], step.answer
        old, held = step.before.leases.get(thread), self._creations.get(thread)
        if (
            held
            and old
            and step.now_ms < held.deadline_ms
            and not self._may_be_over(old, step.now_ms)
        ):
            same = isinstance(answer, Creation) and answer.attempt == held.attempt
            if not same and not isinstance(answer, Busy):
                raise BrokenPromiseError(1, f"{answer} while {held} is under way")
        live = old is not None and old.state == "ready" and not self._may_be_over(old, step.now_ms)
        lost = step.fields["lost"]  # what it may judge is another promise
        judged = lost is not None and old is not None and lost.sandbox_id == old.sandbox_id
        if live and isinstance(answer, Creation) and not judged:
            raise BrokenPromiseError(1, f"{answer} although there is {old}")
        granted = answer.lease if isinstance(answer, Granted | Suspected) else None
        if granted and old and held is None and granted.sandbox_id != old.sandbox_id:
            raise BrokenPromiseError(1, f"{answer} although there is {old}")
        if isinstance(answer, Busy) and held and step.now_ms >= held.deadline_ms:
            raise BrokenPromiseError(2, f"{answer} although {held} has lapsed")

    def _generations_grow(self, step: Step) -> None:
        """3: a generation is greater than every earlier one, and never below the time."""
        known = {lease.sandbox_id for lease in step.before.leases.values()}
        for lease in step.after.leases.values():
            if lease.sandbox_id in known:
                continue
            if lease.generation <= self._generation or lease.generation < step.now_ms:
                raise BrokenPromiseError(3, f"{lease.generation} after {self._generation}")

    def _late_writers_change_nothing(self, step: Step) -> None:
        """3: who holds a creation that was taken over changes nothing."""
        creation = step.fields.get("creation")
        if creation is None or self._holds(creation) or creation.sandbox_id in self._unsure:
            return
        # A repeat by who committed changes nothing.
        again = self._committed.get(creation.sandbox_id) == creation.attempt
        refused = step.method == "abandon" or isinstance(step.answer, CreationLostError)
        if not refused and not again:
            raise BrokenPromiseError(3, f"{step.method} of a late {creation}")
        for old in step.before.leases.values():
            new = step.after.leases.get(old.thread)
            if new != old and not self._may_be_over(old, step.now_ms):
                raise BrokenPromiseError(3, f"{old} became {new} by a late {step.method}")

    def _nothing_leaks(self, step: Step) -> None:
        """4: what had a sandbox and ends is doomed in the same step, and stays so until forgotten."""
        for old in self._vanished(step):
            uid = self._uids.get(old.sandbox_id)
            if uid is not None and uid not in step.after.doomed:
                raise BrokenPromiseError(4, f"{uid} of {old} is not doomed")
        forgotten = step.fields.get("uid") if step.method == "forget" else None
        for uid in step.before.doomed.keys() - step.after.doomed.keys():
            if uid != forgotten:
                raise BrokenPromiseError(4, f"{uid} is doomed no more")

    def _nothing_ends_without_a_cause(self, step: Step) -> None:
        """5, 6, 7: a lease ends by a release, by its time, by a loss, or by its own creator."""
        for old in self._vanished(step):
            if reason_of(step, old) == "expired" and not self._may_be_over(old, step.now_ms):
                if old.sandbox_id in self._unsure:
                    continue
                raise BrokenPromiseError(5, f"{step.method} ended {old} before its time")

    def _idle_means_idle(self, step: Step) -> None:
        """5: what is over is never handed out; activity counts; a pin ends by itself."""
        answer = step.answer
        lease = answer.lease if isinstance(answer, Granted) else answer
        if not isinstance(lease, Lease) or step.method not in ("acquire", "pin"):
            return
        old = step.before.leases.get(lease.thread)
        if old is None or self._is_over(old, step.now_ms):
            raise BrokenPromiseError(5, f"{lease} was over, and is handed out")
        if lease.used_ms != step.now_ms:
            raise BrokenPromiseError(5, f"{step.method} did not count as activity of {lease}")

    def _an_end_is_remembered(self, step: Step) -> None:
        """6: nothing begins in a sandbox that has ended, and it is said how it did."""
        sandbox_id = step.fields.get("sandbox_id")
        if step.method == "release" and isinstance(step.answer, Released):
            thread = step.fields["thread"]
            left = step.after.leases.get(thread)
            if left is not None and sandbox_id in (None, left.sandbox_id):
                raise BrokenPromiseError(6, f"released, and there is {left}")
        thread, end = self._ends.get(sandbox_id or "", (None, ""))
        if step.method != "pin" or end not in _GONE or thread != step.fields["thread"]:
            return
        if not isinstance(step.answer, _GONE[end]):
            raise BrokenPromiseError(6, f"pin of one that is {end}: {step.answer!r}")

    def _another_boot_judges_nothing(self, step: Step) -> None:
        """7: a verdict names the boot that it judged, and is void for another one."""
        seen = step.fields.get("lease")
        if step.method == "acquire":
            seen = step.fields["lost"]
        if step.method not in _VERDICTS or seen is None:
            return
        old = step.before.leases.get(seen.thread)
        if old is None or old.placement is None or self._may_be_over(old, step.now_ms):
            return
        same = shows(seen, old)
        new = step.after.leases.get(seen.thread)
        ended = new is None or new.sandbox_id != old.sandbox_id
        marked = step.method in ("suspect", "clear") and new != old
        if not same and (ended or marked):
            raise BrokenPromiseError(7, f"{step.method} of {seen} made {new} of {old}")
        if same and step.method == "suspect" and not (new and new.suspect):
            raise BrokenPromiseError(7, f"{new} is not under suspicion")

    def _suspects_are_looked_at(self, step: Step) -> None:
        """7: nobody is given a sandbox under suspicion before somebody looked."""
        if step.method == "acquire" and isinstance(step.answer, Granted):
            old = step.before.leases.get(step.fields["thread"])
            if old and old.suspect:
                raise BrokenPromiseError(7, f"{old} is under suspicion, and was handed out")

    def _news_are_told_until_heard(self, step: Step) -> None:
        """1: what is new of a sandbox is told by one at a time, until it was heard."""
        if step.method not in ("take_news", "settle_news"):
            return
        lease, teller = step.fields["lease"], step.fields["teller"]
        now = step.after.leases.get(lease.thread)
        key = (lease.sandbox_id, lease.boot_id)
        other, until = self._tellers.get(key, ("", 0))
        if step.method == "take_news" and step.answer:
            if other not in ("", teller) and step.now_ms < until:
                raise BrokenPromiseError(1, f"{teller} tells what {other} is telling")
            self._tellers[key] = (teller, step.now_ms + self._terms.creation_ms)
        elif step.method == "settle_news" and other == teller:
            del self._tellers[key]
            told = now is None or now.boot_id != lease.boot_id or not _has_news(now)
            if told != step.fields["heard"] and _has_news(step.before.leases.get(lease.thread)):
                raise BrokenPromiseError(1, f"heard={step.fields['heard']} left {now}")

    def _expiry_costs_what_is_due(self, step: Step) -> None:
        """9: expiry ends at most what it was asked for, and says whether more is due."""
        if step.method != "expire" or not isinstance(step.answer, Expired):
            return
        ended, limit = self._vanished(step), step.fields["limit"]
        if len(ended) > limit:
            raise BrokenPromiseError(9, f"{len(ended)} ended, {limit} were asked for")
        ready = [lease for lease in step.after.leases.values() if lease.state == "ready"]
        due = [lease for lease in ready if self._is_over(lease, step.now_ms)]
        if due and not step.answer.more and not self._unsure:
            raise BrokenPromiseError(9, f"{due} is due, and nobody was told")

    def _a_request_is_sent_to_one_boot(self, step: Step) -> None:
        """What began once is not begun again in another process of the same sandbox."""
        if step.method != "pin" or not isinstance(step.answer, Lease):
            return
        for request in filter(None, (step.fields["request"], step.fields["sent"])):
            seen = self._boots.get((step.answer.sandbox_id, request))
            boot_id = step.answer.placement.boot_id if step.answer.placement else ""
            if seen is not None and seen != boot_id:
                text = f"sent to {boot_id} after {seen}: {AnswerLostError.code}"
                raise BrokenPromiseError(3, text)


def _has_news(lease: Lease | None) -> bool:
    placement = lease.placement if lease else None
    return placement is not None and (placement.fresh or placement.restarted)
