"""What a lease remembers of a `request_id`: enough that no restart of its sandbox runs it twice."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import pytest

from oneseek_sandbox.errors import AnswerLostError, RequestIdsExhaustedError
from oneseek_sandbox.leases.keys import request_digest
from oneseek_sandbox.leases.store import Creation, LeaseStore, LeaseTerms
from oneseek_sandbox.testing.lease_steps import THREAD, make_ready, placement

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.testing.lease_steps import NewStore

__all__ = ["RequestPromises"]

_REQUEST: Final = request_digest("step-1")


async def _pin(store: LeaseStore, pin_id: str = "p", request: str = _REQUEST) -> Lease:
    return await store.pin(THREAD, sandbox_id=None, pin_id=pin_id, limit_ms=60_000, request=request)


async def _ask(store: LeaseStore, pin_id: str, sent: str = _REQUEST) -> Lease:
    return await store.pin(THREAD, sandbox_id=None, pin_id=pin_id, limit_ms=60_000, sent=sent)


async def _restart(store: LeaseStore, lease: Lease, boot_id: str = "another boot") -> Lease:
    outcome = await store.restart(lease, attempt=secrets.token_hex(8))
    assert isinstance(outcome, Creation)
    return await store.commit(outcome, placement("uid", boot_id))


@pytest.mark.finding(2)
class RequestPromises:
    """Tests of notes about requests."""

    async def test_a_request_is_not_sent_again_after_a_restart(self, store: LeaseStore) -> None:
        lease = await make_ready(store)
        await store.unpin(await _pin(store), pin_id="p")
        await _restart(store, lease)
        for pin_id in ("p", "q"):
            with pytest.raises(AnswerLostError) as refused:
                await _pin(store, pin_id)
            assert refused.value.may_have_run is True
        assert (await _pin(store, "r", request_digest("step-2"))).pins == 1

    async def test_one_that_is_asked_about_is_not_noted_and_told_when_it_was_lost(
        self, store: LeaseStore
    ) -> None:
        lease = await make_ready(store)
        assert (await _ask(store, "a")).pins == 1
        await store.unpin(await _pin(store), pin_id="p")
        assert (await _ask(store, "b")).pins == 2
        await _restart(store, lease)
        with pytest.raises(AnswerLostError):
            await _ask(store, "c")
        assert (await _ask(store, "d", request_digest("never"))).pins == 3

    async def test_without_a_restart_it_goes_to_the_worker_again(self, store: LeaseStore) -> None:
        await make_ready(store)
        first = await _pin(store, "p")
        assert (await _pin(store, "q")).pins == 2
        await store.unpin(first, pin_id="p")
        assert (await _pin(store, "r")).pins == 2

    async def test_one_that_did_not_start_may_be_sent_after_a_restart(
        self, store: LeaseStore
    ) -> None:
        lease = await make_ready(store)
        await store.unpin(await _pin(store), pin_id="p", unstarted=_REQUEST)
        await _restart(store, lease)
        assert (await _pin(store)).pins == 1

    async def test_it_may_be_sent_too_when_that_is_known_after_the_restart(
        self, store: LeaseStore
    ) -> None:
        lease = await make_ready(store)
        pinned = await _pin(store)
        await _restart(store, lease)
        with pytest.raises(AnswerLostError):
            await _pin(store, "q")
        await store.unpin(pinned, pin_id="p", unstarted=_REQUEST)
        assert (await _pin(store, "r")).pins == 1

    @pytest.mark.parametrize("first", ["p", "q"])
    async def test_one_of_two_pins_cannot_say_that_the_others_did_not_start(
        self, store: LeaseStore, first: str
    ) -> None:
        lease = await make_ready(store)
        pinned = await _pin(store, "p")
        await _pin(store, "q")
        await store.unpin(pinned, pin_id=first, unstarted=_REQUEST)
        await _restart(store, lease)
        with pytest.raises(AnswerLostError):
            await _pin(store, "r")

    async def test_a_pin_and_its_end_may_be_repeated_after_a_lost_answer(
        self, store: LeaseStore
    ) -> None:
        lease = await make_ready(store)
        await _pin(store)
        pinned = await _pin(store)
        await store.unpin(pinned, pin_id="p", unstarted=_REQUEST)
        await _pin(store, "q")
        await store.unpin(pinned, pin_id="p", unstarted=_REQUEST)
        await _restart(store, lease)
        with pytest.raises(AnswerLostError):
            await _pin(store, "r")

    async def test_a_late_end_from_before_a_restart_erases_nothing_of_after_it(
        self, store: LeaseStore
    ) -> None:
        lease = await make_ready(store)
        before = await _pin(store)
        await store.unpin(before, pin_id="p", unstarted=_REQUEST)
        restarted = await _restart(store, lease)
        await _pin(store)
        await store.unpin(before, pin_id="p", unstarted=_REQUEST)
        await _restart(store, restarted, "a third boot")
        with pytest.raises(AnswerLostError):
            await _pin(store)

    async def test_the_next_lease_knows_nothing_of_it(self, store: LeaseStore) -> None:
        await make_ready(store)
        await _pin(store)
        await store.release(THREAD, sandbox_id=None)
        await make_ready(store, boot_id="another boot")
        assert (await _pin(store)).pins == 1

    async def test_beyond_the_bound_a_new_one_is_refused_and_none_forgotten(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LeaseTerms(60_000, idle_ms=60_000, max_request_ids=2))
        lease = await make_ready(store)
        for name in ("a", "b", "a"):
            await _pin(store, request=name)
        with pytest.raises(RequestIdsExhaustedError):
            await _pin(store, request="c")
        assert (await store.pin(THREAD, sandbox_id=None, pin_id="q", limit_ms=1000)).pins == 2
        await _restart(store, lease)
        for name in ("a", "b"):
            with pytest.raises(AnswerLostError):
                await _pin(store, request=name)
