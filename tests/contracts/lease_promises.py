"""What a lease store may never do, whatever it is asked, as relations of one step.

A step is a call with its answer, and all leases before and after it. Nothing here knows how a
store does its work, and nothing is repeated of it: each rule is a lease promise, by its number.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oneseek_sandbox.errors import (
    AnswerLostError,
    CreationLostError,
    SandboxError,
    SandboxExpiredError,
    SandboxLostError,
    SandboxReleasedError,
)
from oneseek_sandbox.leases.background import BACKGROUND
from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    Doomed,
    Expired,
    Granted,
    Lease,
    LeaseTerms,
    Released,
    Suspected,
    Thread,
)

__all__ = ["BrokenPromiseError", "LeasePromises", "Step", "View"]

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


@dataclass(frozen=True, slots=True)
class View:
    """All that a store shows at a moment."""

    leases: dict[Thread, Lease] = field(default_factory=dict)
    doomed: dict[str, Doomed] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One call at `now_ms`.

    Attributes:
        answer: What it answered, or the error that it raised.
        times: How often it was made; the last answer counts.
    """

    method: str
    now_ms: int
    fields: dict[str, Any]
    answer: Any
    before: View
    after: View
    times: int = 1


class LeasePromises:
    """Follows one store from its beginning; `see` judges the next step of it."""

    def __init__(self, terms: LeaseTerms) -> None:
        self._terms = terms
        self._unsure: set[str] = set()
        self._generation = 0
        self._ends: dict[str, tuple[Thread, str]] = {}
        self._creations: dict[Thread, Creation] = {}
        self._uids: dict[str, str] = {}
        self._pins: dict[str, dict[str, int]] = {}
        self._all_pins: dict[str, dict[str, int]] = {}
        self._committed: dict[str, str] = {}
        self._boots: dict[tuple[str, str], str] = {}
        self._tellers: dict[tuple[str, str], tuple[str, int]] = {}

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
        self._remember(step)

    def forget(self, view: View) -> None:
        """Begin anew with a store that lost what it knew, or went back to a state of before.

        Of what it still shows, pins and creations are not known: it is judged by no rule of time.
        """
        fresh = LeasePromises(self._terms)
        for lease in view.leases.values():
            fresh._unsure.add(lease.sandbox_id)
            # A creation of then may not have had a sandbox yet.
            if lease.placement:
                fresh._uids[lease.sandbox_id] = lease.placement.uid
        self.__dict__.update(fresh.__dict__)

    def uid_of(self, sandbox_id: str) -> str | None:
        """Return which sandbox a lease has had."""
        return self._uids.get(sandbox_id)

    # What is known between steps

    def _remember(self, step: Step) -> None:
        found = step.answer.lease if isinstance(step.answer, Granted | Suspected) else step.answer
        for lease in step.after.leases.values():
            self._generation = max(self._generation, lease.generation)
            if lease.placement:
                self._uids[lease.sandbox_id] = lease.placement.uid
        self._note_ends(step)
        if (isinstance(found, Creation) and step.fields.get("creation") is None) or (
            isinstance(found, Creation) and self._holds(step.fields["creation"])
        ):
            self._creations[found.thread] = found
        if step.method == "commit" and isinstance(found, Lease):
            self._committed[found.sandbox_id] = step.fields["creation"].attempt
            self._creations.pop(found.thread, None)
        for lease in step.after.leases.values():
            # Committed, or lapsed: a clock that is set back makes it no creation again.
            if lease.state == "ready":
                self._creations.pop(lease.thread, None)
        self._note_pins(step)
        for sandbox_id, pins in self._pins.items():
            holding = {pin: until for pin, until in pins.items() if until > step.now_ms}
            self._pins[sandbox_id] = holding

    def _note_ends(self, step: Step) -> None:
        for lease in self._vanished(step):
            reason = _reason(step, lease)
            if reason == "released" and self._may_be_over(lease, step.now_ms):
                reason = "either"  # the release met it, or it was over before
            # Of a creation that nobody was given nothing is remembered.
            if lease.sandbox_id in self._uids or reason == "released":
                self._ends[lease.sandbox_id] = (lease.thread, reason)
            self._creations.pop(lease.thread, None)

    def _note_pins(self, step: Step) -> None:
        fields = step.fields
        if step.method == "pin" and isinstance(step.answer, Lease):
            for pins in (self._pins, self._all_pins):
                until = pins.setdefault(step.answer.sandbox_id, {})
                until[fields["pin_id"]] = step.now_ms + fields["limit_ms"]
                if step.answer.busy_until_ms:
                    until[BACKGROUND] = step.answer.busy_until_ms
            if fields["request"]:
                boot_id = step.answer.placement.boot_id if step.answer.placement else ""
                self._boots[step.answer.sandbox_id, fields["request"]] = boot_id
        if step.method in ("rest", "commit"):
            # Whether it was heard is not said: it may be over by now, and must not be.
            named = step.fields.get("lease") or step.fields.get("creation")
            self._pins.get(named.sandbox_id, {}).pop(BACKGROUND, None)
        if step.method == "unpin":
            lease = fields["lease"]
            for pins in (self._pins, self._all_pins):
                pins.get(lease.sandbox_id, {}).pop(fields["pin_id"], None)
            self._boots.pop((lease.sandbox_id, fields["unstarted"] or ""), None)

    def _vanished(self, step: Step) -> list[Lease]:
        current = {lease.sandbox_id for lease in step.after.leases.values()}
        return [old for old in step.before.leases.values() if old.sandbox_id not in current]

    def _may_be_over(self, lease: Lease, now_ms: int) -> bool:
        """Return whether a lease may be ended for its time."""
        return now_ms >= max(self._until(lease, self._pins))

    def _is_over(self, lease: Lease, now_ms: int) -> bool:
        """Return whether it must not be handed out.

        Under a clock that is set back, a pin whose time had passed may hold again, or be gone.
        """
        return now_ms >= max(self._until(lease, self._all_pins))

    def _until(self, lease: Lease, pins: dict[str, dict[str, int]]) -> list[int]:
        creation = self._creations.get(lease.thread)
        holds = [lease.expires_ms, *pins.get(lease.sandbox_id, {}).values()]
        if creation and creation.sandbox_id == lease.sandbox_id and lease.state == "creating":
            holds.append(creation.deadline_ms)
        return holds

    def _holds(self, creation: Creation) -> bool:
        """Return whether a creation is the current one of its thread."""
        current = self._creations.get(creation.thread)
        return (
            current is not None
            and current.sandbox_id == creation.sandbox_id
            and current.attempt == creation.attempt
        )

    # The promises

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
            if _reason(step, old) == "expired" and not self._may_be_over(old, step.now_ms):
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
        same = _shows(seen, old)
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


def _reason(step: Step, old: Lease) -> str:
    """Return how a lease ended in a step."""
    named = step.fields.get("sandbox_id") in (None, old.sandbox_id)
    mine = named and step.fields.get("thread") == old.thread
    if step.method == "release" and mine and isinstance(step.answer, Released):
        return "expired" if step.answer.already and step.times == 1 else "released"
    if step.method == "lose" and step.fields["lease"].sandbox_id == old.sandbox_id:
        return "lost"
    if step.method == "acquire" and _shows(step.fields["lost"], old):
        return "lost"
    if step.method == "abandon" and step.fields["creation"].sandbox_id == old.sandbox_id:
        return "abandoned"
    return "expired"


def _shows(seen: Lease | None, lease: Lease | None) -> bool:
    """Return whether `seen` shows this very process of a sandbox."""
    if seen is None or lease is None:
        return False
    return (seen.sandbox_id, seen.boot_id) == (lease.sandbox_id, lease.boot_id)


def _has_news(lease: Lease | None) -> bool:
    placement = lease.placement if lease else None
    return placement is not None and (placement.fresh or placement.restarted)
