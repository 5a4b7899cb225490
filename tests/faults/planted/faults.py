"""Faults that are planted: for each lease promise one small change of the code that breaks it.

The tests in `test_planted.py` show that the harness catches every one of them, and by which part.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Final, Literal

import pytest
from tests.faults.simulation.disturbing import Fault, empty_store

from oneseek_sandbox.control import cleanup
from oneseek_sandbox.leases.book import LeaseBook
from oneseek_sandbox.leases.ends import Ends
from oneseek_sandbox.leases.state import LeaseRecord

__all__ = ["PLANTED", "Planted"]

Patch = pytest.MonkeyPatch


@dataclasses.dataclass(frozen=True)
class Planted:
    """One fault.

    Attributes:
        caught_by: The model of the lease, or the simulation.
        faults: What the simulation is disturbed by; nothing for what its seeds draw.
    """

    promise: int
    plant: Callable[[Patch], None]
    caught_by: Literal["model", "simulation"]
    faults: tuple[Fault, ...] = ()


def two_creations(patch: Patch) -> None:
    """1: whoever asks while another creates may create too."""
    acquire = LeaseBook.acquire

    def hasty(self: LeaseBook, thread: Any, **fields: Any) -> Any:
        record = self.records.get(thread)
        if record is not None and record.state == "creating":
            del self.records[thread], self.threads[record.sandbox_id]
        return acquire(self, thread, **fields)

    patch.setattr(LeaseBook, "acquire", hasty)


def told_when_taken(patch: Patch) -> None:
    """1: what is new of a sandbox counts as heard when somebody is about to tell it."""
    take_news = LeaseBook.take_news

    def rash(self: LeaseBook, lease: Any, *, now_ms: int, teller: str) -> bool:
        taken = take_news(self, lease, now_ms=now_ms, teller=teller)
        if taken:
            self.settle_news(lease, teller=teller, heard=True)
        return taken

    patch.setattr(LeaseBook, "take_news", rash)


def never_taken_over(patch: Patch) -> None:
    """2: a creation whose holder died is waited for, for ever."""
    busy_until_ms = LeaseRecord.busy_until_ms

    def patient(self: LeaseRecord, now_ms: int) -> int:
        return busy_until_ms(self, now_ms) or (self.state == "creating") * (now_ms + 1)

    def endless(self: LeaseRecord) -> int:
        return self.expires_ms if self.state != "creating" else 2**53

    patch.setattr(LeaseRecord, "busy_until_ms", patient)
    patch.setattr(LeaseRecord, "over_ms", property(endless))


def late_writers(patch: Patch) -> None:
    """3: whoever lost a creation may still commit, renew and abandon it."""

    def held(self: LeaseBook, creation: Any, now_ms: int) -> Any:
        return self._settled(creation.thread, now_ms)

    patch.setattr(LeaseBook, "_held", held)


def leaks(patch: Patch) -> None:
    """4: what expires is not written down as doomed."""
    end = LeaseBook._end

    def careless(self: LeaseBook, record: Any, event: Any, *rest: Any) -> Any:
        doomed = end(self, record, event, *rest)
        if doomed and event == "expire":
            del self.doomed[doomed.uid]
        return doomed

    patch.setattr(LeaseBook, "_end", careless)


def pins_hold_nothing(patch: Patch) -> None:
    """5: a lease in use expires as one that is not."""
    patch.setattr(LeaseRecord, "over_ms", property(lambda self: self.expires_ms))


def ends_are_forgotten(patch: Patch) -> None:
    """6: nobody can tell any more that a sandbox was released."""
    patch.setattr(Ends, "of_sandbox", lambda *_: None)


def any_boot(patch: Patch) -> None:
    """7: a verdict about one process is taken for one about its successor."""

    def seen(self: LeaseRecord, lease: Any) -> bool:
        return lease.sandbox_id == self.sandbox_id

    patch.setattr(LeaseRecord, "is_seen_by", seen)


def orphans_for_want_of_a_lease(patch: Patch) -> None:
    """8: after the store was emptied, cleanup deletes what has no lease."""

    settle = cleanup.Cleanup._settle_objects

    async def ruthless(self: Any, objects: Any, leases: Any) -> Any:
        for sandbox in objects:
            if sandbox.labels is not None and sandbox.labels.thread not in leases:
                await self._runtime.stop(sandbox.uid, sandbox.name)
        return await settle(self, objects, leases)

    patch.setattr(cleanup.Cleanup, "_settle_objects", ruthless)


def one_delays_all(patch: Patch) -> None:
    """9: expiry gives up at the first lease, and says that nothing is left to do."""
    expire = LeaseBook.expire

    def lazy(self: LeaseBook, limit: int, *, now_ms: int) -> Any:
        return dataclasses.replace(expire(self, min(limit, 1), now_ms=now_ms), more=False)

    patch.setattr(LeaseBook, "expire", lazy)


PLANTED: Final = [
    Planted(1, two_creations, "model"),
    Planted(1, told_when_taken, "simulation"),
    Planted(2, never_taken_over, "model"),
    Planted(3, late_writers, "model"),
    Planted(4, leaks, "model"),
    Planted(5, pins_hold_nothing, "model"),
    Planted(6, ends_are_forgotten, "model"),
    Planted(7, any_boot, "model"),
    Planted(8, orphans_for_want_of_a_lease, "simulation", (empty_store,)),
    Planted(9, one_delays_all, "model"),
]
