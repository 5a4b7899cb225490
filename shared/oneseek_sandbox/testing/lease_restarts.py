"""Starting a sandbox again, and telling a thread what is new of its sandbox (promises 1, 3 and 7)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.errors import CreationLostError, SandboxUnavailableError
from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    LeaseStore,
    LeaseTerms,
    Resolved,
    Suspected,
)
from oneseek_sandbox.testing.lease_steps import (
    THREAD,
    begin,
    busy,
    granted,
    make_ready,
    placement,
)

if TYPE_CHECKING:
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["RestartPromises"]

_LAPSES_SOON = LeaseTerms(creation_ms=60, idle_ms=60_000)


class RestartPromises:
    """Tests of restarts and news."""

    async def test_a_restart_keeps_id_and_generation(self, store: LeaseStore) -> None:
        lease = await make_ready(store, boot_id="first")
        creation = await store.restart(lease, attempt="a")
        assert isinstance(creation, Creation)
        assert (creation.sandbox_id, creation.generation) == (lease.sandbox_id, lease.generation)
        assert creation.placement == lease.placement
        await busy(store)
        assert await store.resolve(lease.sandbox_id) == Resolved(THREAD)
        for sandbox_id in (None, lease.sandbox_id):
            with pytest.raises(SandboxUnavailableError, match="restarted"):
                await store.pin(THREAD, sandbox_id=sandbox_id, pin_id="p", limit_ms=1000)
        again = await store.commit(creation, placement(boot_id="second"))
        assert (again.sandbox_id, again.created_ms) == (lease.sandbox_id, lease.created_ms)
        assert again.placement is not None
        assert again.placement.boot_id == "second"

    @pytest.mark.promise(5)
    @pytest.mark.parametrize("unasked", [True, False])
    async def test_a_restart_is_activity_only_of_who_acquires(
        self, store: LeaseStore, later: Later, unasked: bool
    ) -> None:
        lease = await make_ready(store)
        await later(20)
        creation = await store.restart(lease, attempt="a")
        assert isinstance(creation, Creation)
        again = await store.commit(creation, placement(boot_id="second"), unasked=unasked)
        assert (again.used_ms == lease.used_ms) is unasked

    @pytest.mark.promise(1)
    @pytest.mark.parametrize("fresh", [True, False])
    async def test_news_are_shown_until_they_were_heard(
        self, store: LeaseStore, fresh: bool
    ) -> None:
        known = placement("u1", boot_id="second")
        changed = replace(known, fresh=fresh, restarted=not fresh)
        lease = await store.commit(await begin(store), changed)
        earlier = replace(lease, placement=placement("u1", boot_id="first"))
        assert not await store.take_news(earlier, teller="a")
        await store.settle_news(earlier, teller="", heard=True)
        assert (await granted(store)).placement == changed
        assert await store.take_news(lease, teller="a")
        for _ in range(2):
            await store.settle_news(lease, teller="a", heard=True)
            assert (await granted(store)).placement == known
        assert not await store.take_news(lease, teller="b")

    @pytest.mark.promise(1)
    @pytest.mark.finding(7)
    async def test_one_acquire_at_a_time_tells_the_news(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=300, idle_ms=60_000))
        lease = await store.commit(await begin(store), replace(placement(), fresh=True))
        assert await store.take_news(lease, teller="a")
        assert await store.take_news(lease, teller="a"), "its answer may have been lost"
        assert not await store.take_news(lease, teller="b")
        await busy(store)
        await store.settle_news(lease, teller="b", heard=True)
        await busy(store)
        waiting = asyncio.ensure_future(store.wait(THREAD, 60_000))
        await store.settle_news(lease, teller="a", heard=False)
        async with asyncio.timeout(10):
            await waiting
        await granted(store)
        assert await store.take_news(lease, teller="b"), "nobody heard of it"
        await later(301)
        assert await store.take_news(lease, teller="c"), "nothing was heard of b"
        await store.settle_news(lease, teller="b", heard=True)
        await store.settle_news(lease, teller="c", heard=False)
        placed = (await granted(store)).placement
        assert placed is not None
        assert placed.fresh

    async def test_only_one_of_two_restarts_goes_ahead(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        first = await store.restart(lease, attempt="a")
        assert isinstance(await store.restart(lease, attempt="b"), Busy)
        assert await store.restart(lease, attempt="a") == first
        with pytest.raises(CreationLostError):
            await store.restart(replace(lease, sandbox_id="0" * 32), attempt="c")
        with pytest.raises(CreationLostError):
            await store.restart(replace(lease, placement=placement(boot_id="other")), attempt="c")

    async def test_an_abandoned_restart_ends_the_lease_as_lost(self, store: LeaseStore) -> None:
        lease = await make_ready(store, uid="u1")
        creation = await store.restart(lease, attempt="a")
        assert isinstance(creation, Creation)
        await store.abandon(creation, uid="u2", name="n2")
        assert {entry.uid for entry in await store.doomed(10)} == {"u1", "u2"}
        assert await store.get(THREAD) is None

    async def test_a_lapsed_restart_leaves_a_suspect_whose_files_are_kept(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(_LAPSES_SOON)
        lease = await make_ready(store)
        late = await store.restart(lease, attempt="a")
        assert isinstance(late, Creation)
        await later(61)
        outcome = await store.acquire(THREAD, attempt="b")
        assert isinstance(outcome, Suspected)
        assert outcome.lease.placement == lease.placement
        with pytest.raises(CreationLostError):
            await store.commit(late, placement())

    @pytest.mark.promise(5)
    async def test_a_restart_that_outlived_its_lease_cannot_be_committed(
        self, new_store: NewStore, later: Later
    ) -> None:
        store = await new_store(LeaseTerms(creation_ms=300, idle_ms=300))
        lease = await make_ready(store, uid="u1")
        late = await store.restart(lease, attempt="a")
        assert isinstance(late, Creation)
        await later(300)
        with pytest.raises(CreationLostError):
            await store.commit(late, placement())
        assert [entry.reason for entry in await store.doomed(10)] == ["expired"]
