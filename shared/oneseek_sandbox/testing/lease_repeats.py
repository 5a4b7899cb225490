"""Calls that are made twice, since the answer to the first was lost or the way repeated them."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest

from oneseek_sandbox.leases.keys import request_digest
from oneseek_sandbox.leases.store import Creation
from oneseek_sandbox.testing.lease_steps import LONG, THREAD, begin, granted, make_ready, placement

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.leases.store import Lease, LeaseStore
    from oneseek_sandbox.testing.lease_steps import NewStore

__all__ = ["RepeatPromises"]


async def _restarting(store: LeaseStore, attempt: str = "restart") -> Creation:
    outcome = await store.restart(await make_ready(store), attempt=attempt)
    assert isinstance(outcome, Creation)
    return outcome


async def _fresh(store: LeaseStore) -> Lease:
    news = dataclasses.replace(placement(), fresh=True, restarted=True)
    return await store.commit(await begin(store), news)


async def _beginning(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    return lambda: store.acquire(THREAD, attempt="attempt")


async def _replacing(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    lost = await make_ready(store)
    return lambda: store.acquire(THREAD, attempt="attempt", lost=lost)


async def _granting(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    await make_ready(store)
    return lambda: granted(store)


async def _restart(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    lease = await make_ready(store)
    return lambda: store.restart(lease, attempt="attempt")


async def _renewing(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    creation = await begin(store)
    above = creation.generation + 5
    return lambda: store.renew(creation, above_generation=above)


async def _committing(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    creation, news = await begin(store), dataclasses.replace(placement(), fresh=True)
    return lambda: store.commit(creation, news, idle_ms=5_000)


async def _committing_a_restart(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    creation, news = await _restarting(store), dataclasses.replace(placement(), restarted=True)
    return lambda: store.commit(creation, news)


async def _abandoning(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    creation = await begin(store)
    return lambda: store.abandon(creation, uid="uid", name="name")


async def _pinning(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    await make_ready(store)
    request = request_digest("step-1")
    return lambda: store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000, request=request)


async def _unpinning(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    await make_ready(store)
    request = request_digest("step-1")
    lease = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000, request=request)
    return lambda: store.unpin(lease, pin_id="p", unstarted=request)


async def _taking_news(store: LeaseStore) -> Callable[[], Awaitable[object]]:
    lease = await _fresh(store)
    return lambda: store.take_news(lease, teller="teller")


_STEPS = [
    _beginning,
    _replacing,
    _granting,
    _restart,
    _renewing,
    _committing,
    _committing_a_restart,
    _abandoning,
    _pinning,
    _unpinning,
    _taking_news,
]


class RepeatPromises:
    """Tests of repeats: whoever hears of the second alone must not be misled."""

    @pytest.mark.promise(1)
    @pytest.mark.parametrize("prepare", _STEPS, ids=lambda step: step.__name__.strip("_"))
    async def test_a_repeat_is_answered_like_the_first(
        self,
        store: LeaseStore,
        prepare: Callable[[LeaseStore], Awaitable[Callable[[], Awaitable[object]]]],
    ) -> None:
        step = await prepare(store)
        assert _timeless(await step()) == _timeless(await step())

    @pytest.mark.promise(1)
    @pytest.mark.parametrize("heard", [True, False])
    async def test_news_that_are_settled_twice_are_settled_as_once(
        self, store: LeaseStore, heard: bool
    ) -> None:
        lease = await _fresh(store)
        assert await store.take_news(lease, teller="teller")
        for _ in range(2):
            await store.settle_news(lease, teller="teller", heard=heard)
        assert await store.take_news(lease, teller="another") is not heard

    async def test_a_release_that_is_repeated_had_been_one_and_leaves_what_to_end(
        self, store: LeaseStore
    ) -> None:
        """The repeat has nothing to hand on; the store still has it, for whoever ends it."""
        lease = await make_ready(store)
        first = await store.release(THREAD, sandbox_id=None)
        again = await store.release(THREAD, sandbox_id=None)
        assert (first.already, again.already, again.doomed) == (False, True, None)
        assert first.doomed
        assert await store.doomed_among([first.doomed.uid]) == {first.doomed.uid: first.doomed}
        assert lease.placement
        assert first.doomed.uid == lease.placement.uid

    async def test_an_end_that_is_repeated_leaves_what_to_end(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        first = await store.lose(lease)
        assert await store.lose(lease) is None
        assert first
        assert await store.doomed(10) == [first]

    async def test_an_expiry_that_is_repeated_leaves_what_to_end(
        self, new_store: NewStore, later: Callable[[int], Awaitable[None]]
    ) -> None:
        store = await new_store(dataclasses.replace(LONG, idle_ms=50))
        await make_ready(store)
        await later(100)
        first = await store.expire(10)
        assert not (await store.expire(10)).doomed
        assert first.doomed
        assert await store.take_doomed(10) == first.doomed


def _timeless(answer: object) -> object:
    """Return an answer without what only says when it was given."""
    for name in ("lease", "creation"):
        if hasattr(answer, name):
            return type(answer).__name__, _timeless(getattr(answer, name))
    times = [n for n in ("used_ms", "expires_ms", "deadline_ms") if hasattr(answer, n)]
    if not times:
        return answer
    return dataclasses.replace(answer, **dict.fromkeys(times, 0))  # type: ignore[type-var]
