"""How a lease comes to be: one creator, fenced, taken over when it lapses (promises 1 to 4)."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.errors import (
    CapacityError,
    CreationLostError,
    LeaseNotFoundError,
)
from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    LeaseStore,
    LeaseTerms,
    Thread,
)
from oneseek_sandbox.testing.lease_steps import (
    LONG,
    THREAD,
    begin,
    busy,
    granted,
    make_ready,
    placement,
)

if TYPE_CHECKING:
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["CreationPromises"]

_LAPSES_SOON = LeaseTerms(creation_ms=60, idle_ms=60_000)


class CreationPromises:
    """Tests of creations and capacity."""

    @pytest.fixture
    async def store(self, new_store: NewStore) -> LeaseStore:
        """Give a store under terms that do not run out during a test."""
        return await new_store(LONG)

    @pytest.mark.promise(1)
    async def test_of_many_acquires_one_creates_and_the_others_wait(
        self, store: LeaseStore
    ) -> None:
        outcomes = await asyncio.gather(
            *(store.acquire(THREAD, attempt=f"attempt-{number}") for number in range(40))
        )
        assert [type(outcome) for outcome in outcomes].count(Creation) == 1
        assert [type(outcome) for outcome in outcomes].count(Busy) == 39

    @pytest.mark.promise(1)
    async def test_waiters_wake_long_before_the_creation_would_lapse(
        self, store: LeaseStore
    ) -> None:
        creation = await begin(store)
        waiters = [asyncio.create_task(store.wait(THREAD, 30_000)) for _ in range(5)]
        await asyncio.sleep(0)
        await store.commit(creation, placement())
        async with asyncio.timeout(2):
            await asyncio.gather(*waiters)

    @pytest.mark.promise(1)
    async def test_waiting_returns_at_once_when_nobody_creates(self, store: LeaseStore) -> None:
        async with asyncio.timeout(2):
            await store.wait(THREAD, 30_000)
            await make_ready(store)
            await store.wait(THREAD, 30_000)

    @pytest.mark.promise(1)
    async def test_waiters_wake_when_the_creation_lapses(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_LAPSES_SOON)
        await begin(store)
        waiter = asyncio.create_task(store.wait(THREAD, 30_000))
        await later(61)
        async with asyncio.timeout(2):
            await waiter

    @pytest.mark.promise(1)
    async def test_waiters_wake_when_the_creator_gives_up(self, store: LeaseStore) -> None:
        creation = await begin(store)
        waiter = asyncio.create_task(store.wait(THREAD, 30_000))
        await asyncio.sleep(0)
        await store.abandon(creation)
        async with asyncio.timeout(2):
            await waiter
        await begin(store)

    @pytest.mark.promise(1)
    async def test_waiting_ends_with_its_timeout(self, store: LeaseStore) -> None:
        await begin(store)
        async with asyncio.timeout(2):
            await store.wait(THREAD, 30)

    @pytest.mark.promise(1)
    async def test_second_acquire_reuses_the_sandbox(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        again = await granted(store)
        assert (again.sandbox_id, again.generation) == (lease.sandbox_id, lease.generation)
        assert again.placement == lease.placement

    async def test_an_acquire_may_be_repeated_after_a_lost_answer(self, store: LeaseStore) -> None:
        creation = await begin(store, attempt="mine")
        assert await begin(store, attempt="mine") == creation

    async def test_a_commit_may_be_repeated_after_a_lost_answer(self, store: LeaseStore) -> None:
        creation = await begin(store)
        lease = await store.commit(creation, placement("u1"))
        assert await store.commit(creation, placement("u1")) == lease

    @pytest.mark.promise(2)
    async def test_a_renewed_creation_is_not_taken_over(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=600, idle_ms=60_000))
        creation = await begin(store)
        for _ in range(3):
            await later(250)
            creation = await store.renew(creation)
            assert (await busy(store)).wait_ms > 0
        await store.commit(creation, placement())

    @pytest.mark.promise(2)
    async def test_a_lapsed_creation_is_taken_over_and_its_holder_changes_nothing(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_LAPSES_SOON)
        late = await begin(store)
        await later(61)
        creation = await begin(store)
        assert creation.sandbox_id != late.sandbox_id
        assert creation.generation > late.generation
        lease = await store.commit(creation, placement("u2"))
        for call in (store.commit(late, placement("u1")), store.renew(late)):
            with pytest.raises(CreationLostError):
                await call
        await store.abandon(late)
        assert await store.get(THREAD) == lease

    @pytest.mark.promise(2)
    async def test_a_lapsed_creation_can_be_committed_while_nobody_took_over(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_LAPSES_SOON)
        creation = await begin(store)
        await later(61)
        assert (await store.commit(creation, placement())).state == "ready"

    @pytest.mark.promise(3)
    async def test_generations_grow_over_all_threads(self, store: LeaseStore) -> None:
        generations = [
            (await begin(store, Thread("tenant", str(number)))).generation for number in range(20)
        ]
        assert generations == sorted(set(generations))

    @pytest.mark.promise(3)
    async def test_a_generation_rises_above_what_is_labelled(self, store: LeaseStore) -> None:
        creation = await begin(store)
        above = creation.generation + 5_000_000
        renewed = await store.renew(creation, above_generation=above)
        assert renewed.generation > above
        assert (await store.renew(creation, above_generation=above)).generation == (
            renewed.generation
        )
        assert (await begin(store, Thread("tenant", "next"))).generation > renewed.generation

    async def test_a_thread_being_created_has_no_sandbox_to_use_yet(
        self, store: LeaseStore
    ) -> None:
        await begin(store)
        with pytest.raises(LeaseNotFoundError, match="being created"):
            await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)

    async def test_an_abandoned_creation_dooms_what_it_had_made(self, store: LeaseStore) -> None:
        creation = await begin(store)
        await store.abandon(creation, uid="u1", name="n1")
        (doomed,) = await store.doomed(10)
        assert (doomed.uid, doomed.name, doomed.generation) == ("u1", "n1", creation.generation)
        assert await store.get(THREAD) is None

    @pytest.mark.promise(3)
    async def test_a_late_abandon_does_not_doom_what_its_successor_took(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_LAPSES_SOON)
        late = await begin(store)
        await later(61)
        creation = await begin(store)
        await store.abandon(late, uid="taken", name="n")
        await store.commit(creation, placement("taken"))
        await store.abandon(late, uid="taken", name="n")
        assert await store.doomed(10) == []
        await store.abandon(late, uid="left behind", name="n")
        assert [entry.uid for entry in await store.doomed(10)] == ["left behind"]

    @pytest.mark.promise(6)
    async def test_a_release_ends_a_creation(self, store: LeaseStore) -> None:
        creation = await begin(store)
        assert (await store.release(THREAD, sandbox_id=None)).doomed is None
        with pytest.raises(CreationLostError):
            await store.commit(creation, placement())
        await store.abandon(creation, uid="u1", name="n1")
        assert [entry.uid for entry in await store.doomed(10)] == ["u1"]

    @pytest.mark.promise(3)
    @pytest.mark.finding(3)
    async def test_renewing_what_was_committed_changes_nothing(self, store: LeaseStore) -> None:
        creation = await begin(store)
        lease = await store.commit(creation, placement())
        renewed = await store.renew(creation, above_generation=creation.generation)
        assert (renewed.generation, renewed.attempt) == (creation.generation, creation.attempt)
        assert await store.get(THREAD) == lease

    @pytest.mark.promise(3)
    @pytest.mark.finding(3)
    async def test_giving_up_says_what_is_to_be_ended(self, store: LeaseStore) -> None:
        creation = await begin(store)
        await store.commit(creation, placement("u1"))
        assert await store.abandon(creation, uid="u1", name="n1") is None, "the lease names it"
        doomed = await store.abandon(creation, uid="u2", name="n2")
        assert doomed is not None
        assert doomed.uid == "u2"

    @pytest.mark.finding(6)
    async def test_an_adopted_sandbox_keeps_its_age_and_its_idle_timeout(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LeaseTerms(idle_ms=60_000, lifetime_ms=100_000))
        made = await store.commit(await begin(store), placement())
        assert made.ends_ms == made.created_ms + 100_000
        await store.release(THREAD, sandbox_id=None)
        adopted = await store.commit(
            await begin(store), placement("u2"), created_ms=made.created_ms - 5000, idle_ms=7000
        )
        assert adopted.created_ms == made.created_ms - 5000
        assert adopted.ends_ms == adopted.created_ms + 100_000
        assert adopted.expires_ms == adopted.used_ms + 7000
        await store.release(THREAD, sandbox_id=None)
        future = await store.commit(
            await begin(store), placement("u3"), created_ms=made.created_ms + 10**9
        )
        assert future.created_ms < made.created_ms + 10**9

    async def test_capacity_counts_leases_and_doomed_but_never_stops_a_replacement(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=60_000, max_sandboxes=2))
        lease = await make_ready(store, uid="u1")
        await begin(store, Thread("tenant", "second"))
        with pytest.raises(CapacityError):
            await begin(store, Thread("tenant", "third"))
        await begin(store, lost=lease)
        await store.release(Thread("tenant", "second"), sandbox_id=None)
        with pytest.raises(CapacityError):
            await begin(store, Thread("tenant", "third"))
        await store.forget("u1")
        await begin(store, Thread("tenant", "third"))
