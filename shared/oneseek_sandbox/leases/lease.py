"""What a lease is, and what the store answers about one. Milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Busy",
    "Creation",
    "Doomed",
    "EndReason",
    "Expired",
    "Granted",
    "Lease",
    "LeaseTerms",
    "Placement",
    "Released",
    "Resolved",
    "Suspected",
    "Thread",
]

EndReason = Literal["released", "expired", "lost"]


@dataclass(frozen=True, slots=True, order=True)
class Thread:
    """A conversation thread of one scope (tenant or user)."""

    scope: str
    thread_id: str


@dataclass(frozen=True, slots=True)
class LeaseTerms:
    """What a store is given once.

    Attributes:
        creation_ms: Life of a creation lease that is not renewed.
        ended_ms: How long the store can still tell why a `sandbox_id` ended.
        idle_ms: Idle timeout of acquires that give none.
        lifetime_ms: Longest life of a sandbox, used or not; 0 for none.
        pause_ms: Between the first two looks at what cannot be proved gone; it doubles six times.
        max_sandboxes: Leases that are not over and doomed entries together, at most; 0 for no
            limit.
        max_request_ids: Different `request_id`s that one lease remembers, at most.
    """

    creation_ms: int = 10_000
    ended_ms: int = 86_400_000
    idle_ms: int = 900_000
    lifetime_ms: int = 0
    max_sandboxes: int = 0
    pause_ms: int = 5000
    max_request_ids: int = 10_000


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a sandbox is and how to prove that it is the one: written at commit.

    Attributes:
        uid: The runtime's own identity of the sandbox; never used twice.
        name: The runtime's name for it.
        address: Where its worker listens: `unix:/path` or `tcp:ip:port`.
        token: Shared secret with the worker.
        key_id: Which token key made it.
        boot_id: The worker process that was claimed.
        warm: It came from a pool.
        restarted: Its processes were lost and its files kept, and no acquire has reported it yet.
        fresh: It was made with an empty workspace, and no acquire has reported it yet.
        features: What its worker knows beyond the protocol's first version, as it said at the
            claim; empty for one of before it said.
    """

    uid: str
    name: str
    address: str
    token: str
    key_id: str
    boot_id: str
    warm: bool = False
    restarted: bool = False
    fresh: bool = False
    features: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lease:
    """A live lease as the store had it in the last transition.

    Attributes:
        state: `unknown` for one of a later version: then only its thread is known.
        placement: None unless `state` is `ready`.
        ends_ms: Absolute end by the maximum lifetime; 0 for none.
        suspect: A data verb got no answer from the sandbox; acquire or cleanup will look.
        pins: Operations running now.
        labels: What acquires gave, as `write_mapping` has it; empty for none.
        env_version: How often the variables changed that acquires gave; 0 for none.
        env_lost: The sandbox once had variables that this store knows nothing of.
        busy_until_ms: Until then a process with a time limit may run in the background; 0 for none.
            At idle expiry somebody asks (`rest`).
    """

    thread: Thread
    sandbox_id: str
    generation: int
    state: Literal["creating", "ready", "unknown"]
    placement: Placement | None
    idle_ms: int
    created_ms: int
    used_ms: int
    expires_ms: int
    ends_ms: int = 0
    suspect: bool = False
    pins: int = 0
    labels: str = ""
    env_version: int = 0
    env_lost: bool = False
    busy_until_ms: int = 0

    @property
    def gives_env(self) -> bool:
        """Whether acquires gave variables, and its worker can take them."""
        known = self.placement is not None and "env" in self.placement.features
        return known and self.env_version > 0

    @property
    def boot_id(self) -> str:
        """Which worker process it shows; empty while it is being created."""
        return self.placement.boot_id if self.placement else ""


@dataclass(frozen=True, slots=True)
class Creation:
    """The right to make the sandbox of a thread, until `deadline_ms` unless renewed.

    Attributes:
        ended_generation: Of the thread's last sandbox that is over, as long as that is remembered;
            0 for none. What is labelled with it or a lower one must not come back.
        placement: Of the sandbox that is to be started again; None for a first creation.
        labels: As of a lease.
        env_version: As of a lease.
    """

    thread: Thread
    sandbox_id: str
    generation: int
    attempt: str
    idle_ms: int
    deadline_ms: int
    ended_generation: int = 0
    placement: Placement | None = None
    labels: str = ""
    env_version: int = 0


@dataclass(frozen=True, slots=True)
class Granted:
    """Acquire found a ready lease; its activity was counted."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Suspected:
    """Acquire found a lease under suspicion: ask the runtime, then `clear` it or acquire with `lost`."""

    lease: Lease


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody else creates; wait for a notice or until `deadline_ms` (store time), `wait_ms` from now."""

    deadline_ms: int
    wait_ms: int


@dataclass(frozen=True, slots=True)
class Doomed:
    """A sandbox that must be deleted; the entry stays until that is proved.

    Attributes:
        tries: How often that was tried before.
        next_ms: Not before then is it tried again, where the store keeps that here.
    """

    uid: str
    name: str
    thread: Thread
    sandbox_id: str
    generation: int
    reason: EndReason
    tries: int = 0
    next_ms: int = 0


@dataclass(frozen=True, slots=True)
class Released:
    """What a release did.

    Attributes:
        already: The lease had ended before this call.
        doomed: What the lease's end left to be deleted.
        generation: All of the thread that is labelled with it or a lower one is over; 0 where
            this call ended nothing.
    """

    already: bool
    doomed: Doomed | None
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Resolved:
    """Whose a `sandbox_id` is, or was: `end` says how it ended, None while it lives."""

    thread: Thread
    end: EndReason | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """What an expire left to be deleted; `more` leases are over than it was allowed to end."""

    doomed: list[Doomed]
    more: bool
