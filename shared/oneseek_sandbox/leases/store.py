"""The lease store: which sandbox belongs to which thread, and what every implementation promises.

A thread has at most one lease. Its life (`state.py` has the table):

    none ──acquire──▶ creating ──commit──▶ ready ──release/expire/lose──▶ none
                         ▲                   │
                         └──── restart ──────┘      (same sandbox_id, same generation)

Every method is one atomic transition on the store's own clock and compares what it changes with
what the caller believes: the `sandbox_id` of the lease, and for creations the random `attempt` of
its creator. What ends leaves a *doomed* entry, which stays until the sandbox behind it is proved
gone. Milliseconds everywhere; times are since 1970, UTC.
"""

from __future__ import annotations

from typing import Protocol

from oneseek_sandbox.leases.lease import (
    Busy,
    Creation,
    Doomed,
    EndReason,
    Expired,
    Granted,
    Lease,
    LeaseTerms,
    Placement,
    Released,
    Resolved,
    Suspected,
    Thread,
)

__all__ = [
    "Busy",
    "Creation",
    "Doomed",
    "EndReason",
    "Expired",
    "Granted",
    "Lease",
    "LeaseStore",
    "LeaseTerms",
    "Placement",
    "Released",
    "Resolved",
    "Suspected",
    "Thread",
]


class LeaseStore(Protocol):
    """The promises every store keeps (numbers are the design's lease promises).

    Every method raises `StoreUnavailableError` when the store does not answer; then nothing may be
    assumed (8: fail closed). Calls may be repeated after that with the same `attempt` or `pin_id`:
    a repeat of a transition that had taken place answers as the first did.
    """

    async def open(self) -> None:
        """Connect; a `ConfigurationError` when it may lose leases (a Redis that evicts, 8)."""

    async def close(self) -> None:
        """Let go of connections."""
        ...

    async def acquire(
        self,
        thread: Thread,
        *,
        attempt: str,
        idle_ms: int | None = None,
        lost: Lease | None = None,
        labels: str | None = None,
        env: str | None = None,
    ) -> Granted | Suspected | Creation | Busy:
        """Take the thread's lease, or the right to create its sandbox (1, 2, 4, 5).

        An expired lease is doomed and its successor begun in the same transition; so is the lease
        that `lost` shows. A creation whose lease lapsed is taken over with a new
        generation and `sandbox_id`; a restart that lapsed leaves a suspect, as its files may be
        there. A lease past its maximum lifetime that is still pinned is `Busy`, and so is one of
        which another acquire is about to tell the news.

        Args:
            attempt: Random, new for every try to acquire; fences the creation.
            idle_ms: Replaces the lease's idle timeout; None leaves it (or takes the default).
            lost: A lease whose sandbox the runtime said is gone. The verdict is void when another
                process of that sandbox was claimed since.
            labels: Replaces the lease's, as `write_mapping` has them; None leaves them.
            env: Likewise of the variables that its commands get. The lease shows how often they
                changed, and `env` what they are.

        Raises:
            CapacityError: A creation would exceed `max_sandboxes`.
        """
        ...

    async def restart(self, lease: Lease, *, attempt: str) -> Creation | Busy:
        """Begin to start a ready lease's sandbox again: same `sandbox_id`, same generation.

        Raises:
            CreationLostError: The lease is over, or another process of its sandbox was claimed.
        """
        ...

    async def renew(self, creation: Creation, *, above_generation: int = 0) -> Creation:
        """Prolong a creation; its generation becomes greater than `above_generation` (2, 3).

        Once it is committed this changes nothing: a commit whose answer is late is no loss.

        Raises:
            CreationLostError: Taken over or released.
        """
        ...

    async def commit(
        self,
        creation: Creation,
        placement: Placement,
        *,
        created_ms: int = 0,
        idle_ms: int = 0,
        unasked: bool = False,
        labels: str = "",
        env_lost: bool = False,
    ) -> Lease:
        """Make the lease ready and wake who waits (2).

        Args:
            created_ms: When an adopted sandbox was made, so that its lifetime goes on; 0 for now.
            idle_ms: The idle timeout of an adopted sandbox; 0 for the creation's.
            unasked: Nobody acquired it: a restart is then no activity (5).
            labels: Of an adopted sandbox, as `write_mapping` has them, if its acquire gave none.
            env_lost: The adopted sandbox had variables that are not known here any more; its lease
                says so until an acquire gives some.

        Raises:
            CreationLostError: Taken over or released meanwhile; nothing was changed (3).
        """
        ...

    async def abandon(self, creation: Creation, *, uid: str = "", name: str = "") -> Doomed | None:
        """Give up a creation and wake who waits; with `uid`, doom that sandbox in the same step.

        Nothing happens to the lease when the creation is not the current one any more. The lease
        of an abandoned restart ends as lost.

        Returns:
            What is doomed by this; None where `uid` is, or may become, the thread's sandbox: the
            lease names it, or a successor that is still creating may have found it.
        """
        ...

    async def wait(self, thread: Thread, timeout_ms: int) -> None:
        """Return on a notice about the thread, or after `timeout_ms`; may return early (1)."""
        ...

    async def resolve(self, sandbox_id: str) -> Resolved:
        """Return the thread a `sandbox_id` belongs to, and how it ended if it did.

        Raises:
            LeaseNotFoundError: Never heard of, or forgotten.
        """
        ...

    async def pin(
        self,
        thread: Thread,
        *,
        sandbox_id: str | None,
        pin_id: str,
        limit_ms: int,
        request: str | None = None,
        sent: str | None = None,
        busy_ms: int = 0,
    ) -> Lease:
        """Count activity and keep the lease from expiring for `limit_ms` at most (5).

        Args:
            request: Digest of a `request_id`. It is noted with the boot id of the sandbox, in the
                same transition, and remembered as long as the lease.
            sent: Digest of a `request_id` that is asked about: nothing is noted of it.
            busy_ms: How long what it starts may run in the background: the lease does not expire
                till then, or `rest`, but at its maximum lifetime.

        Raises:
            LeaseNotFoundError: No ready lease for this thread (by thread only).
            SandboxGoneError: `sandbox_id` is not the current one; the class says why.
            AnswerLostError: `request` or `sent` was noted under another boot id of this sandbox.
            RequestIdsExhaustedError: The lease has noted `max_request_ids` others.
        """
        ...

    async def unpin(self, lease: Lease, *, pin_id: str, unstarted: str | None = None) -> None:
        """Count activity at the end of an operation and let its pin go; never an error if gone (5, 6).

        Args:
            unstarted: The `request` of this pin, when its command surely did not start: its note
                is erased, unless another pin has come with the same request since.
        """
        ...

    async def rest(self, lease: Lease) -> None:
        """Note that nothing with a limit runs in the background; void unless idle and as seen (5)."""
        ...

    async def suspect(self, lease: Lease) -> None:
        """Mark a ready lease whose sandbox did not answer (7)."""
        ...

    async def clear(self, lease: Lease) -> None:
        """Take the mark of `suspect` away (7)."""
        ...

    async def take_news(self, lease: Lease, *, teller: str) -> bool:
        """Return whether this acquire is to tell that the sandbox is fresh or was restarted (1).

        One at a time is, until it was heard, and acquires wait for that; a teller of whom nothing
        is heard for the life of a creation lease is replaced. False also when the lease is over.

        Args:
            teller: Random; the call may be repeated with the same one.
        """
        ...

    async def settle_news(self, lease: Lease, *, teller: str, heard: bool) -> None:
        """Note that the news was heard, or let the next acquire tell it, and wake who waits (1)."""
        ...

    async def release(
        self, thread: Thread, *, sandbox_id: str | None, found_generation: int = 0
    ) -> Released:
        """End a lease now, whatever runs under it; also one that is being created (6).

        Args:
            found_generation: The greatest one with which the runtime has sandboxes of the thread
                labelled; 0 for none. Where the store knows of no lease, note that they, and all
                there was until now, are released.

        Raises:
            LeaseNotFoundError: The thread has none and had none lately.
            SandboxGoneError: `sandbox_id` expired or was lost; a released one is `already`.
        """
        ...

    async def lose(self, lease: Lease) -> Doomed | None:
        """End a ready lease whose sandbox is gone; None when it is not the current one any more (7)."""
        ...

    async def expire(self, limit: int) -> Expired:
        """End at most `limit` leases that are over and not pinned; costs what is due (5, 9).

        First creations that lapsed count towards the limit, though they leave nothing doomed.
        """
        ...

    async def doomed(self, limit: int) -> list[Doomed]:
        """Return at most `limit` entries, next due first (4)."""
        ...

    async def take_doomed(self, limit: int) -> list[Doomed]:
        """Return at most `limit` entries that are due, longest due first, and put them off (9).

        The pause doubles with each look (`LeaseTerms.pause_ms`): what cannot be proved gone delays
        nobody, and of all processes one looks.
        """
        ...

    async def doomed_among(self, uids: list[str]) -> dict[str, Doomed]:
        """Return the entries of those of these sandboxes that are doomed, by uid (8)."""
        ...

    async def forget(self, uid: str) -> None:
        """Drop a doomed entry whose sandbox is proved gone (4)."""
        ...

    async def get(self, thread: Thread) -> Lease | None:
        """Return the thread's lease, creating or ready, without counting activity.

        One that is over stays until `expire`, or an operation that meets it, ends it.
        """
        ...

    async def env(self, sandbox_id: str) -> str:
        """Return the variables that a live lease was given, as `write_mapping` has them; '' for none."""
        ...

    async def leases(self) -> list[Lease]:
        """Return all live leases, in no order, also `unknown` ones; for operators and the sweep."""
        ...

    async def count(self) -> int:
        """Return how many live leases there are, at the cost of one look; for figures."""
        ...

    async def once(self, name: str, ttl_ms: int) -> bool:
        """Return True for the first call with this name within `ttl_ms`, in all processes."""
        ...
