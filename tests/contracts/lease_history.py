"""What is known of a lease store between two steps: who may hold what, and how leases ended.

A step is a call with its answer, and all leases before and after it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from oneseek_sandbox.leases.background import BACKGROUND
from oneseek_sandbox.leases.store import (
    Creation,
    Doomed,
    Granted,
    Lease,
    LeaseTerms,
    Released,
    Suspected,
    Thread,
)

__all__ = ["LeaseHistory", "Step", "View", "reason_of", "shows"]


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


class LeaseHistory:
    """Follows one store from its beginning, or from when it lost what it knew."""

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

    def forget(self, view: View) -> None:
        """Begin anew with a store that lost what it knew, or went back to a state of before.

        Of what it still shows, pins and creations are not known: it is judged by no rule of time.
        """
        fresh = type(self)(self._terms)
        for lease in view.leases.values():
            fresh._unsure.add(lease.sandbox_id)
            # A creation of then may not have had a sandbox yet.
            if lease.placement:
                fresh._uids[lease.sandbox_id] = lease.placement.uid
        self.__dict__.update(fresh.__dict__)

    def uid_of(self, sandbox_id: str) -> str | None:
        """Return which sandbox a lease has had."""
        return self._uids.get(sandbox_id)

    def remember(self, step: Step) -> None:
        """Take note of a step."""
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
            reason = reason_of(step, lease)
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


def reason_of(step: Step, old: Lease) -> str:
    """Return how a lease ended in a step."""
    named = step.fields.get("sandbox_id") in (None, old.sandbox_id)
    mine = named and step.fields.get("thread") == old.thread
    if step.method == "release" and mine and isinstance(step.answer, Released):
        return "expired" if step.answer.already and step.times == 1 else "released"
    if step.method == "lose" and step.fields["lease"].sandbox_id == old.sandbox_id:
        return "lost"
    if step.method == "acquire" and shows(step.fields["lost"], old):
        return "lost"
    if step.method == "abandon" and step.fields["creation"].sandbox_id == old.sandbox_id:
        return "abandoned"
    return "expired"


def shows(seen: Lease | None, lease: Lease | None) -> bool:
    """Return whether `seen` shows this very process of a sandbox."""
    if seen is None or lease is None:
        return False
    return (seen.sandbox_id, seen.boot_id) == (lease.sandbox_id, lease.boot_id)
