"""What keeps a lease alive: activity and pins, and nothing for ever (promises 5 and 7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.errors import LeaseNotFoundError, SandboxExpiredError
from oneseek_sandbox.leases.store import (
    Expired,
    Granted,
    LeaseStore,
    LeaseTerms,
    Resolved,
    Suspected,
    Thread,
)
from oneseek_sandbox.testing.lease_steps import THREAD, begin, busy, granted, make_ready, placement

if TYPE_CHECKING:
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["ActivityPromises"]

_IDLE_MS = 300
_IDLE = LeaseTerms(creation_ms=60_000, idle_ms=_IDLE_MS)


class ActivityPromises:
    """Tests of pins, idle time, lifetime and suspicion."""

    @pytest.mark.promise(5)
    async def test_an_idle_lease_is_never_handed_out_even_before_cleanup(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        lease = await make_ready(store, uid="u1")
        await later(_IDLE_MS)
        with pytest.raises(LeaseNotFoundError):
            await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)
        with pytest.raises(SandboxExpiredError):
            await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="p", limit_ms=1000)
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD, "expired")
        creation = await begin(store)
        assert creation.generation > lease.generation
        assert [(entry.uid, entry.reason) for entry in await store.doomed(10)] == [
            ("u1", "expired")
        ]

    @pytest.mark.promise(5)
    async def test_a_process_in_the_background_holds_an_idle_lease_until_it_is_said_to_have_ended(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        lease = await make_ready(store, uid="u1")
        begun = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000, busy_ms=600_000)
        assert (begun.pins, begun.busy_until_ms > begun.used_ms + 500_000) == (1, True)
        await store.unpin(begun, pin_id="p")
        await store.rest(begun)  # it is not idle yet, so nobody has asked
        await later(_IDLE_MS)
        assert (await store.expire(10)).doomed == []
        idle = await store.get(THREAD)
        assert idle is not None
        assert (idle.pins, idle.busy_until_ms) == (0, begun.busy_until_ms)
        await store.rest(replace(idle, placement=placement("u1", "another boot")))
        assert (await store.expire(10)).doomed == []
        await store.rest(idle)
        assert [doomed.uid for doomed in (await store.expire(10)).doomed] == ["u1"]
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD, "expired")

    @pytest.mark.promise(5)
    async def test_while_a_lease_is_used_nobody_says_that_its_processes_have_ended(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        lease = await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000, busy_ms=600_000)
        await later(_IDLE_MS)
        await store.rest(lease)
        found = await store.get(THREAD)
        assert found is not None
        assert found.busy_until_ms > 0

    @pytest.mark.promise(5)
    async def test_a_process_in_the_background_does_not_outlast_the_lifetime(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(replace(_IDLE, lifetime_ms=400))
        await make_ready(store, uid="u1")
        begun = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1, busy_ms=600_000)
        assert begun.busy_until_ms == begun.ends_ms
        await later(401)
        assert [doomed.uid for doomed in (await store.expire(10)).doomed] == ["u1"]

    @pytest.mark.promise(5)
    async def test_the_longest_process_counts_and_ends_by_itself(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        await make_ready(store, uid="u1")
        for busy_ms in (_IDLE_MS + 300, 1):
            lease = await store.pin(
                THREAD, sandbox_id=None, pin_id="p", limit_ms=1000, busy_ms=busy_ms
            )
            await store.unpin(lease, pin_id="p")
        await later(_IDLE_MS)
        assert (await store.expire(10)).doomed == []
        await later(300)
        assert [doomed.uid for doomed in (await store.expire(10)).doomed] == ["u1"]

    @pytest.mark.promise(5)
    async def test_an_idle_sandbox_id_has_expired_even_before_cleanup(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        lease = await make_ready(store)
        await later(_IDLE_MS)
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD, "expired")
        await make_ready(store)
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD, "expired")

    @pytest.mark.promise(5)
    async def test_each_acquire_counts_as_activity(self, new_store: NewStore, later: Later) -> None:
        store = await new_store(LeaseTerms(creation_ms=60_000, idle_ms=800))
        await make_ready(store)
        for _ in range(3):
            await later(400)
            await granted(store)
        await later(800)
        await begin(store)

    @pytest.mark.promise(5)
    async def test_a_pinned_lease_does_not_expire_and_unpinning_counts_as_activity(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=60_000, idle_ms=800))
        lease = await make_ready(store)
        pinned = await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="p", limit_ms=60_000)
        assert pinned.pins == 1
        await later(900)
        assert await store.expire(10) == Expired([], more=False)
        await store.unpin(pinned, pin_id="p")
        await later(100)
        assert (await granted(store)).pins == 0
        await later(800)
        assert len((await store.expire(10)).doomed) == 1

    @pytest.mark.promise(5)
    async def test_a_pin_ends_by_its_own_deadline(self, new_store: NewStore, later: Later) -> None:
        store = await new_store(_IDLE)
        await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="never let go", limit_ms=500)
        await later(500)
        assert len((await store.expire(10)).doomed) == 1

    @pytest.mark.promise(5)
    async def test_a_pin_may_be_repeated_after_a_lost_answer(self, store: LeaseStore) -> None:
        await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)
        again = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)
        assert again.pins == 1
        other = await store.pin(THREAD, sandbox_id=None, pin_id="q", limit_ms=1000)
        assert other.pins == 2

    @pytest.mark.promise(5)
    async def test_a_reused_acquire_changes_the_idle_timeout(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        await make_ready(store)
        assert (await granted(store, idle_ms=60_000)).idle_ms == 60_000
        await later(_IDLE_MS + 50)
        assert (await granted(store)).idle_ms == 60_000

    @pytest.mark.promise(5)
    async def test_the_maximum_lifetime_ends_a_used_sandbox(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=60_000, lifetime_ms=600))
        lease = await make_ready(store)
        assert lease.expires_ms == lease.ends_ms == lease.created_ms + 600
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=10)
        await later(600)
        with pytest.raises(SandboxExpiredError):
            await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="q", limit_ms=10)
        await begin(store)

    @pytest.mark.promise(5)
    async def test_the_maximum_lifetime_waits_for_pins_and_takes_no_new_ones(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=60_000, lifetime_ms=300))
        lease = await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000)
        await later(300)
        assert await store.expire(10) == Expired([], more=False)
        with pytest.raises(LeaseNotFoundError):
            await store.pin(THREAD, sandbox_id=None, pin_id="q", limit_ms=60_000)
        with pytest.raises(SandboxExpiredError):
            await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="q", limit_ms=60_000)
        await busy(store)
        waiter = asyncio.create_task(store.wait(THREAD, 30_000))
        await asyncio.sleep(0)
        await store.unpin(lease, pin_id="p")
        async with asyncio.timeout(2):
            await waiter
        await begin(store)

    @pytest.mark.promise(5)
    async def test_unpinning_after_the_end_does_not_bring_a_lease_back(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_IDLE)
        lease = await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=10)
        await later(_IDLE_MS)
        await store.unpin(lease, pin_id="p")
        await begin(store)

    @pytest.mark.promise(3)
    async def test_a_late_unpin_does_not_touch_the_next_lease(self, store: LeaseStore) -> None:
        old = await make_ready(store)
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000)
        await store.release(THREAD, sandbox_id=None)
        await make_ready(store)
        lease = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000)
        await store.unpin(old, pin_id="p")
        assert await store.get(THREAD) == lease

    @pytest.mark.promise(7)
    async def test_a_suspect_is_looked_at_by_the_next_acquire(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        await store.suspect(lease)
        outcome = await store.acquire(THREAD, attempt="a")
        assert isinstance(outcome, Suspected)
        assert outcome.lease.suspect
        assert (await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)).suspect
        await store.clear(outcome.lease)
        assert not (await granted(store)).suspect

    @pytest.mark.promise(7)
    async def test_a_suspect_that_is_gone_is_replaced_in_one_step(self, store: LeaseStore) -> None:
        lease = await make_ready(store, uid="u1")
        await store.suspect(lease)
        creation = await begin(store, lost=lease)
        assert creation.generation > lease.generation
        assert [(entry.uid, entry.reason) for entry in await store.doomed(10)] == [("u1", "lost")]

    @pytest.mark.promise(7)
    async def test_naming_another_sandbox_as_lost_changes_nothing(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        other_boot = replace(lease, placement=placement(boot_id="another"))
        for judged in (replace(lease, sandbox_id="0" * 32), other_boot):
            outcome = await store.acquire(THREAD, attempt="a", lost=judged)
            assert isinstance(outcome, Granted)
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD)

    @pytest.mark.promise(9)
    async def test_expiring_ends_what_is_over_and_at_most_the_limit(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=50, idle_ms=50))
        for number in range(3):
            await make_ready(store, Thread("tenant", str(number)), uid=f"u{number}")
        await begin(store, Thread("tenant", "never finished"))
        await later(50)
        first = await store.expire(2)
        rest = await store.expire(10)
        assert sorted(e.uid for e in first.doomed + rest.doomed) == ["u0", "u1", "u2"]
        assert (len(first.doomed), first.more, rest.more) == (2, True, False)
        assert await store.leases() == []
        assert await store.expire(10) == Expired([], more=False)

    @pytest.mark.promise(9)
    async def test_creations_that_lapsed_do_not_hide_what_else_is_over(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=30, idle_ms=60))
        await make_ready(store, uid="u1")
        for number in range(2):
            await begin(store, Thread("tenant", f"never finished {number}"))
        await later(60)
        assert await store.expire(2) == Expired([], more=True)
        last = await store.expire(1)
        assert ([entry.uid for entry in last.doomed], last.more) == (["u1"], False)
