"""Steps that the tests of leases are made of."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.leases.store import (
    Busy,
    Creation,
    Granted,
    LeaseStore,
    LeaseTerms,
    Placement,
    Thread,
)

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease

__all__ = [
    "LONG",
    "THREAD",
    "Later",
    "NewStore",
    "begin",
    "busy",
    "granted",
    "make_ready",
    "placement",
]

NewStore = Callable[[LeaseTerms], Awaitable[LeaseStore]]
"""Makes and opens an empty store."""

Later = Callable[[int], Awaitable[None]]
"""Returns when so many milliseconds have passed on the store's clock."""

LONG: Final = LeaseTerms(creation_ms=60_000, idle_ms=60_000)
"""Terms under which nothing ends by itself during a test."""

THREAD: Final = Thread("tenant", "thread")
_numbers = itertools.count(1)


def placement(uid: str = "", boot_id: str = "boot") -> Placement:
    """Return a placement, by default with a uid of its own."""
    uid = uid or f"uid-{next(_numbers)}"
    return Placement(
        uid=uid,
        name=f"name-of-{uid}",
        address="unix:/run/worker",
        token="t0k3n",  # noqa: S106
        key_id="key",
        boot_id=boot_id,
        warm=True,
        features=("stdin_path", "other"),
    )


async def begin(
    store: LeaseStore, thread: Thread = THREAD, *, attempt: str = "", lost: Lease | None = None
) -> Creation:
    """Acquire where that must begin a creation."""
    attempt = attempt or f"attempt-{next(_numbers)}"
    outcome = await store.acquire(thread, attempt=attempt, lost=lost)
    assert isinstance(outcome, Creation), outcome
    return outcome


async def make_ready(
    store: LeaseStore, thread: Thread = THREAD, *, uid: str = "", boot_id: str = "boot"
) -> Lease:
    """Acquire and commit a new lease."""
    return await store.commit(await begin(store, thread), placement(uid, boot_id))


async def granted(store: LeaseStore, thread: Thread = THREAD, idle_ms: int | None = None) -> Lease:
    """Acquire where that must find a lease."""
    outcome = await store.acquire(thread, attempt=f"attempt-{next(_numbers)}", idle_ms=idle_ms)
    assert isinstance(outcome, Granted), outcome
    return outcome.lease


async def busy(store: LeaseStore, thread: Thread = THREAD) -> Busy:
    """Acquire where somebody else must be creating."""
    outcome = await store.acquire(thread, attempt=f"attempt-{next(_numbers)}")
    assert isinstance(outcome, Busy), outcome
    return outcome
