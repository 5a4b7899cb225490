"""What waits to be deleted, and what room it takes (promises 4 and 9)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from oneseek_sandbox.errors import CapacityError
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.testing.lease_steps import THREAD, begin, make_ready

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import LeaseStore
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["DeletionPromises"]

_PAUSE_MS: Final = 2000
_TERMS: Final = LeaseTerms(60_000, idle_ms=60_000, pause_ms=_PAUSE_MS)


async def _doom(store: LeaseStore, *uids: str) -> None:
    for uid in uids:
        await make_ready(store, uid=uid)
        await store.release(THREAD, sandbox_id=None)


class DeletionPromises:
    """Tests of doomed entries and of capacity."""

    @pytest.mark.finding(16)
    @pytest.mark.promise(9)
    async def test_what_was_taken_to_be_deleted_is_put_off_and_comes_again(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_TERMS)
        await _doom(store, "u1", "u2", "u3")
        taken = [await store.take_doomed(2), await store.take_doomed(2)]
        assert [[(e.uid, e.tries) for e in some] for some in taken] == [
            [("u1", 0), ("u2", 0)],
            [("u3", 0)],
        ]
        assert await store.take_doomed(10) == []
        await store.forget("u2")
        await _doom(store, "new")
        assert [(entry.uid, entry.tries) for entry in await store.take_doomed(10)] == [("new", 0)]
        await later(_PAUSE_MS)
        assert {(e.uid, e.tries) for e in await store.take_doomed(10)} == {
            ("u1", 1),
            ("u3", 1),
            ("new", 1),
        }
        assert {entry.uid for entry in await store.doomed(10)} == {"u1", "u3", "new"}

    @pytest.mark.finding(16)
    async def test_the_pauses_of_what_cannot_be_proved_gone_grow(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=60_000, pause_ms=400))
        await _doom(store, "stuck")
        waits = []
        for tries in range(4):
            waited = 0
            while not (taken := await store.take_doomed(10)):
                await later(100)
                waited += 1
            assert [(entry.uid, entry.tries) for entry in taken] == [("stuck", tries)]
            waits.append(waited)
        assert waits[0] == 0
        assert waits[1:] == sorted(set(waits[1:]))

    @pytest.mark.finding(16)
    async def test_an_entry_that_was_forgotten_begins_anew(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_TERMS)
        await _doom(store, "u1")
        await store.take_doomed(10)
        await store.forget("u1")
        await later(_PAUSE_MS)
        assert await store.take_doomed(10) == []
        await _doom(store, "u1")
        assert [entry.tries for entry in await store.take_doomed(10)] == [0]

    @pytest.mark.finding(16)
    async def test_capacity_does_not_count_what_is_over(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=1_500, max_sandboxes=2))
        threads = [Thread("tenant", name) for name in "abcde"]
        for thread in threads[:2]:
            await make_ready(store, thread)
        with pytest.raises(CapacityError):
            await begin(store, threads[2])
        await later(1_501)
        for thread in threads[2:4]:
            await begin(store, thread)
        with pytest.raises(CapacityError):
            await begin(store, threads[4])
        # Its own was over too, so it takes a place of its own like any other.
        with pytest.raises(CapacityError):
            await begin(store, threads[0])

    @pytest.mark.finding(16)
    async def test_a_thread_whose_lease_is_over_finds_its_own_place_free(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=400, max_sandboxes=1))
        old = await make_ready(store)
        await later(401)
        assert (await begin(store)).sandbox_id != old.sandbox_id
