"""How a lease ends, and what is remembered of it (promises 3, 4, 6 and 8)."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.errors import (
    CreationLostError,
    LeaseNotFoundError,
    SandboxExpiredError,
    SandboxReleasedError,
)
from oneseek_sandbox.leases.store import Creation, LeaseStore, LeaseTerms, Resolved, Thread
from oneseek_sandbox.testing.lease_steps import THREAD, begin, granted, make_ready, placement

if TYPE_CHECKING:
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["EndingPromises"]

# Names that would meet if they were joined carelessly, or end a hash tag early.
_NASTY = [
    "a",
    "a:b",
    "b",
    "b:a",
    ":",
    "1:a",
    "{x}",
    "}{",
    "*",
    "é\U0001f600",
    " ",
    "a\\b",
    '"',
    "tag",
]


class EndingPromises:
    """Tests of release, loss, doomed entries and names."""

    @pytest.mark.promise(6)
    async def test_release_wins_over_what_is_running(self, store: LeaseStore) -> None:
        lease = await make_ready(store, uid="u1")
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000)
        released = await store.release(THREAD, sandbox_id=lease.sandbox_id)
        assert not released.already
        assert released.doomed is not None
        assert (released.doomed.uid, released.doomed.reason) == ("u1", "released")
        with pytest.raises(SandboxReleasedError):
            await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="q", limit_ms=1000)
        with pytest.raises(LeaseNotFoundError):
            await store.pin(THREAD, sandbox_id=None, pin_id="q", limit_ms=1000)
        assert (await store.resolve(lease.sandbox_id)).end == "released"
        await store.unpin(lease, pin_id="p")

    @pytest.mark.promise(6)
    async def test_a_repeated_release_says_already(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        await store.release(THREAD, sandbox_id=None)
        for sandbox_id in (None, lease.sandbox_id):
            again = await store.release(THREAD, sandbox_id=sandbox_id)
            assert again.already
            assert again.doomed is None

    @pytest.mark.promise(6)
    async def test_releasing_what_never_was_is_an_error(self, store: LeaseStore) -> None:
        with pytest.raises(LeaseNotFoundError):
            await store.release(THREAD, sandbox_id=None)
        with pytest.raises(LeaseNotFoundError):
            await store.release(THREAD, sandbox_id="0" * 32)
        with pytest.raises(LeaseNotFoundError):
            await store.resolve("0" * 32)

    @pytest.mark.promise(3)
    async def test_a_late_release_does_not_touch_the_next_lease(self, store: LeaseStore) -> None:
        old = await make_ready(store)
        await store.release(THREAD, sandbox_id=old.sandbox_id)
        lease = await make_ready(store)
        assert (await store.release(THREAD, sandbox_id=old.sandbox_id)).already
        assert await store.get(THREAD) == lease

    @pytest.mark.promise(3)
    async def test_a_sandbox_id_works_for_its_own_thread_only(self, store: LeaseStore) -> None:
        other = await make_ready(store, Thread("tenant", "other"))
        await make_ready(store)
        with pytest.raises(LeaseNotFoundError):
            await store.pin(THREAD, sandbox_id=other.sandbox_id, pin_id="p", limit_ms=1000)
        with pytest.raises(LeaseNotFoundError):
            await store.release(THREAD, sandbox_id=other.sandbox_id)
        assert await store.resolve(other.sandbox_id) == Resolved(other.thread)

    @pytest.mark.promise(6)
    async def test_the_store_tells_whose_an_ended_sandbox_was(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=60_000, idle_ms=400))
        expired = await make_ready(store)
        await later(400)
        assert await store.resolve(expired.sandbox_id) == Resolved(THREAD, "expired")
        lost = await make_ready(store)
        await store.lose(lost)
        released = await make_ready(store)
        await store.release(THREAD, sandbox_id=None)
        await make_ready(store)
        for lease, end in ((expired, "expired"), (lost, "lost"), (released, "released")):
            resolved = await store.resolve(lease.sandbox_id)
            assert (resolved.thread, resolved.end) == (THREAD, end)

    @pytest.mark.promise(6)
    async def test_a_creation_knows_the_generation_that_ended_before_it(
        self, store: LeaseStore
    ) -> None:
        first = await begin(store)
        assert first.ended_generation == 0
        await store.release(THREAD, sandbox_id=None)
        second = await begin(store)
        assert first.generation < second.ended_generation < second.generation
        assert (await store.renew(second)).ended_generation == second.ended_generation
        lease = await store.commit(second, placement())
        third = await begin(store, lost=lease)
        assert third.ended_generation == second.generation
        assert (await begin(store, Thread("tenant", "other"))).ended_generation == 0

    @pytest.mark.promise(2, 8)
    async def test_a_creation_that_lapsed_ended_nothing(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=60, idle_ms=60_000))
        await begin(store)
        await later(61)
        assert (await begin(store)).ended_generation == 0

    @pytest.mark.promise(6)
    async def test_releasing_an_expired_lease_is_the_same_before_and_after_cleanup(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=60_000, idle_ms=50))
        for clean in (False, True):
            lease = await make_ready(store)
            await later(50)
            if clean:
                await store.expire(10)
            with pytest.raises(SandboxExpiredError):
                await store.release(THREAD, sandbox_id=lease.sandbox_id)
            assert (await store.release(THREAD, sandbox_id=None)).already
        assert len(await store.doomed(10)) == 2

    async def test_ends_are_forgotten_after_a_while(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(60_000, ended_ms=400, idle_ms=60_000))
        lease = await make_ready(store)
        await store.release(THREAD, sandbox_id=None)
        assert (await store.resolve(lease.sandbox_id)).end == "released"
        await later(401)
        for call in (
            store.resolve(lease.sandbox_id),
            store.release(THREAD, sandbox_id=None),
            store.release(THREAD, sandbox_id=lease.sandbox_id),
        ):
            with pytest.raises(LeaseNotFoundError):
                await call

    @pytest.mark.promise(7)
    async def test_a_lost_lease_ends_once(self, store: LeaseStore) -> None:
        lease = await make_ready(store, uid="u1")
        doomed = await store.lose(lease)
        assert doomed is not None
        assert (doomed.uid, doomed.reason) == ("u1", "lost")
        assert await store.lose(lease) is None
        assert (await store.resolve(lease.sandbox_id)).end == "lost"

    @pytest.mark.promise(3, 7)
    async def test_a_judgement_from_before_a_restart_changes_nothing(
        self, store: LeaseStore
    ) -> None:
        old = await make_ready(store, uid="u1", boot_id="first")
        creation = await store.restart(old, attempt="a")
        assert isinstance(creation, Creation)
        assert await store.lose(old) is None
        await store.commit(creation, placement("u1", boot_id="second"))
        assert await store.lose(old) is None
        await store.suspect(old)
        assert not (await granted(store)).suspect

    @pytest.mark.promise(6)
    @pytest.mark.finding(6)
    async def test_a_release_of_what_the_store_does_not_know_ends_all_that_is_labelled(
        self, store: LeaseStore
    ) -> None:
        ahead = 10**15
        released = await store.release(THREAD, sandbox_id="0" * 32, found_generation=ahead)
        assert (released.already, released.generation > ahead) == (False, True)
        assert (await store.release(THREAD, sandbox_id="0" * 32)).already
        creation = await begin(store)
        assert creation.ended_generation == released.generation < creation.generation

    @pytest.mark.promise(4)
    async def test_a_doomed_entry_stays_until_it_is_forgotten(self, store: LeaseStore) -> None:
        lease = await make_ready(store, uid="u1")
        await begin(store, lost=lease)
        for _ in range(2):
            (entry,) = await store.doomed(10)
            assert (entry.sandbox_id, entry.thread) == (lease.sandbox_id, THREAD)
        await store.forget("u1")
        await store.forget("u1")
        assert await store.doomed(10) == []

    @pytest.mark.promise(8)
    async def test_the_store_tells_which_sandboxes_are_doomed(self, store: LeaseStore) -> None:
        await make_ready(store, uid="u1")
        await store.release(THREAD, sandbox_id=None)
        await make_ready(store, uid="u2")
        found = await store.doomed_among(["u1", "u2", "u3"])
        assert list(found) == ["u1"]
        assert (found["u1"].thread, found["u1"].reason) == (THREAD, "released")
        assert await store.doomed_among([]) == {}

    async def test_the_doomed_come_oldest_first(self, store: LeaseStore, later: Later) -> None:
        for uid in ("zz", "mm", "aa"):
            await make_ready(store, uid=uid)
            await store.release(THREAD, sandbox_id=None)
            await later(2)
        assert [entry.uid for entry in await store.doomed(2)] == ["zz", "mm"]

    async def test_reading_a_lease_counts_no_activity(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        assert await store.get(THREAD) == lease
        assert await store.leases() == [lease]
        assert await store.get(Thread("nobody", "none")) is None

    async def test_live_leases_are_counted_also_while_they_are_created(
        self, store: LeaseStore
    ) -> None:
        assert await store.count() == 0
        await make_ready(store)
        await begin(store, Thread("tenant", "being created"))
        assert await store.count() == 2
        await store.release(THREAD, sandbox_id=None)
        assert await store.count() == 1

    async def test_a_placement_comes_back_as_it_was(self, store: LeaseStore) -> None:
        odd = replace(placement('u "1"'), name="é\\/", address="", token="", restarted=True)
        lease = await store.commit(await begin(store), odd)
        assert lease.placement == odd
        released = await store.release(THREAD, sandbox_id=None)
        assert released.doomed is not None
        assert (released.doomed.uid, released.doomed.name) == (odd.uid, odd.name)

    async def test_threads_with_strange_names_are_kept_apart(self, store: LeaseStore) -> None:
        threads = {Thread(scope, name) for scope in _NASTY for name in _NASTY}
        made = {thread: (await make_ready(store, thread)).sandbox_id for thread in threads}
        assert len(set(made.values())) == len(threads)
        assert {lease.thread: lease.sandbox_id for lease in await store.leases()} == made
        for thread, sandbox_id in made.items():
            assert await store.resolve(sandbox_id) == Resolved(thread)

    @pytest.mark.promise(9)
    async def test_once_is_true_once_within_its_time(self, store: LeaseStore, later: Later) -> None:
        assert await store.once("sweep", 400)
        assert not await store.once("sweep", 400)
        assert await store.once("other", 400)
        await later(401)
        assert await store.once("sweep", 400)

    async def test_a_commit_after_the_lease_was_forgotten_is_lost(self, store: LeaseStore) -> None:
        creation = await begin(store)
        await store.abandon(creation)
        with pytest.raises(CreationLostError):
            await store.commit(creation, placement())
