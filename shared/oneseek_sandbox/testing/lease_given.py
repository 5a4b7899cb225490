"""What acquires give to a lease: labels and variables, replaced as a whole, and kept with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.leases.given import read_mapping, write_mapping
from oneseek_sandbox.leases.store import Busy, Creation, Granted, LeaseTerms, Suspected
from oneseek_sandbox.testing.lease_steps import (
    LONG,
    THREAD,
    begin,
    granted,
    make_ready,
    placement,
)

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease, LeaseStore
    from oneseek_sandbox.testing.lease_steps import Later, NewStore

__all__ = ["GivenPromises"]

_LABELS: Final = write_mapping({"team": "red", "z": "\u00e4 \u2028 \"'"})
_ENV: Final = write_mapping({"TOKEN": "s3cret", "PATH": "/bin:\n"})
_NO_ENV: Final = write_mapping({})


class GivenPromises:
    """Tests of labels and variables."""

    async def test_what_the_first_acquire_gave_is_there_from_the_creation_on(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LONG)
        creation = await store.acquire(THREAD, attempt="a", labels=_LABELS, env=_ENV)
        assert isinstance(creation, Creation)
        assert (creation.labels, creation.env_version) == (_LABELS, 1)
        lease = await store.commit(creation, placement())
        assert (lease.labels, lease.env_version, lease.env_lost) == (_LABELS, 1, False)
        assert await store.env(lease.sandbox_id) == _ENV
        assert await store.leases() == [lease]

    async def test_given_again_they_are_replaced_and_absent_they_stay(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LONG)
        lease = await make_ready(store)
        assert (lease.labels, lease.env_version) == ("", 0)
        assert await store.env(lease.sandbox_id) == ""
        lease = await _give(store, labels=_LABELS, env=_ENV)
        assert (lease.labels, lease.env_version) == (_LABELS, 1)
        lease = await granted(store)
        assert (lease.labels, lease.env_version) == (_LABELS, 1)
        lease = await _give(store, labels="{}", env=_NO_ENV)
        assert (lease.labels, lease.env_version) == ("{}", 2)
        assert await store.env(lease.sandbox_id) == _NO_ENV

    async def test_the_same_variables_again_are_no_change(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        await make_ready(store)
        for _ in range(2):
            assert (await _give(store, env=_ENV)).env_version == 1
        assert (await _give(store, env=_NO_ENV)).env_version == 2

    async def test_a_suspected_lease_takes_what_is_given(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        lease = await make_ready(store)
        await store.suspect(lease)
        suspected = await store.acquire(THREAD, attempt="b", labels=_LABELS, env=_ENV)
        assert isinstance(suspected, Suspected)
        restart = await store.restart(suspected.lease, attempt="c")
        assert isinstance(restart, Creation)
        assert (restart.labels, restart.env_version) == (_LABELS, 1)
        lease = await store.commit(restart, placement(boot_id="later"))
        assert (lease.labels, lease.env_version) == (_LABELS, 1)
        assert await store.env(lease.sandbox_id) == _ENV

    async def test_who_waits_gives_nothing_yet(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        creation = await begin(store)
        waiting = await store.acquire(THREAD, attempt="b", labels=_LABELS, env=_ENV)
        assert isinstance(waiting, Busy)
        lease = await store.commit(creation, placement())
        assert (lease.labels, lease.env_version) == ("", 0)

    async def test_pins_and_news_leave_them_alone(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        await make_ready(store)
        lease = await _give(store, labels=_LABELS, env=_ENV)
        pinned = await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1000)
        assert (pinned.labels, pinned.env_version) == (_LABELS, 1)
        await store.unpin(lease, pin_id="p")
        assert await store.env(lease.sandbox_id) == _ENV

    async def test_they_end_with_the_lease(self, new_store: NewStore, later: Later) -> None:
        store = await new_store(LeaseTerms(creation_ms=60_000, idle_ms=300))
        await make_ready(store)
        lease = await _give(store, labels=_LABELS, env=_ENV)
        await store.release(THREAD, sandbox_id=None)
        assert await store.env(lease.sandbox_id) == ""
        lease = await make_ready(store)
        assert (lease.labels, lease.env_version) == ("", 0)
        await _give(store, env=_ENV)
        await later(300)
        await store.expire(10)
        assert await store.env(lease.sandbox_id) == ""

    async def test_an_adopted_sandbox_brings_its_labels_and_that_it_had_variables(
        self, new_store: NewStore
    ) -> None:
        store = await new_store(LONG)
        creation = await begin(store)
        adopted = await store.commit(creation, placement(), labels=_LABELS or "", env_lost=True)
        assert (adopted.labels, adopted.env_version, adopted.env_lost) == (_LABELS, 0, True)
        assert (await granted(store)).env_lost
        assert not (await _give(store, env=_NO_ENV)).env_lost

    async def test_what_its_acquire_gave_counts_more(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        creation = await store.acquire(THREAD, attempt="a", labels="{}", env=_ENV)
        assert isinstance(creation, Creation)
        adopted = await store.commit(creation, placement(), labels=_LABELS or "", env_lost=True)
        assert (adopted.labels, adopted.env_version, adopted.env_lost) == ("{}", 1, False)

    async def test_a_restart_takes_nothing_over(self, new_store: NewStore) -> None:
        store = await new_store(LONG)
        restart = await store.restart(await make_ready(store), attempt="b")
        assert isinstance(restart, Creation)
        lease = await store.commit(restart, placement(), labels=_LABELS or "", env_lost=True)
        assert (lease.labels, lease.env_lost) == ("", False)

    async def test_the_text_of_a_mapping_is_the_same_for_the_same_content(self) -> None:
        assert write_mapping({"b": "1", "a": "2"}) == write_mapping({"a": "2", "b": "1"})
        assert read_mapping(_LABELS or "") == {"team": "red", "z": "\u00e4 \u2028 \"'"}
        assert (write_mapping(None), read_mapping("")) == (None, {})


async def _give(store: LeaseStore, *, labels: str | None = None, env: str | None = None) -> Lease:
    outcome = await store.acquire(THREAD, attempt="gives", labels=labels, env=env)
    assert isinstance(outcome, Granted), outcome
    return outcome.lease
