"""The lease store in Redis: one Lua script per transition, on the server's clock."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.leases.answers import (
    read_acquired,
    read_all_doomed,
    read_creation,
    read_doomed,
    read_lease,
    read_refusal,
    read_resolved,
    write_placement,
)
from oneseek_sandbox.leases.connection import RedisConnection
from oneseek_sandbox.leases.doomed import MOST_DOUBLINGS
from oneseek_sandbox.leases.keys import KeyNames, thread_tag
from oneseek_sandbox.leases.store import Busy, Creation, Expired, LeaseTerms, Released
from oneseek_sandbox.leases.subscription import Subscription

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from oneseek_sandbox.leases.store import (
        Doomed,
        Granted,
        Lease,
        Placement,
        Resolved,
        Suspected,
        Thread,
    )

__all__ = ["RedisLeaseStore"]

# How often a waiter looks for itself, for notices that are lost with a connection.
_LOOK_MS: Final = 500
# How many leases are read at once, so that a listing does not keep everybody else waiting.
_BATCH: Final = 64


class RedisLeaseStore:
    """A `LeaseStore` for any number of processes; the port says what its methods promise.

    Args:
        url: `redis://`, `rediss://` or `unix://`.
        prefix: Keeps several installations apart in one Redis.
        revive: Starts the server again when it went away; for a server of our own.

    Source:
        `scripts/*.lua`.
    """

    def __init__(
        self,
        url: str,
        terms: LeaseTerms | None = None,
        prefix: str = "oneseek",
        *,
        revive: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self._terms = terms or LeaseTerms()
        self._keys = KeyNames(prefix)
        self._connection = RedisConnection(url, revive)
        self._subscription = Subscription(self._connection, self._keys.notices)

    async def open(self) -> None:
        """Connect, and refuse a server that evicts."""
        await self._connection.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._subscription.stop()
        await self._connection.close()

    async def acquire(
        self, thread: Thread, *, attempt: str, idle_ms: int | None = None, lost: str | None = None
    ) -> Granted | Suspected | Creation | Busy:
        """Take the lease, or the right to create."""
        answer = await self._run(
            "acquire",
            thread,
            attempt,
            secrets.token_hex(16),
            "" if idle_ms is None else idle_ms,
            lost or "",
            thread.scope,
            thread.thread_id,
            self._terms.creation_ms,
            self._terms.idle_ms,
            self._terms.max_sandboxes,
        )
        return read_acquired(answer)

    async def restart(self, thread: Thread, *, sandbox_id: str, attempt: str) -> Creation | Busy:
        """Begin to start a sandbox again."""
        answer = await self._run("restart", thread, sandbox_id, attempt, self._terms.creation_ms)
        outcome = read_acquired(answer)
        assert isinstance(outcome, Creation | Busy)  # noqa: S101
        return outcome

    async def renew(self, creation: Creation, *, above_generation: int = 0) -> Creation:
        """Prolong a creation."""
        _, flat = await self._run(
            "renew",
            creation.thread,
            creation.sandbox_id,
            creation.attempt,
            self._terms.creation_ms,
            above_generation,
        )
        return read_creation(flat)

    async def commit(self, creation: Creation, placement: Placement) -> Lease:
        """Make the lease ready."""
        _, flat = await self._run(
            "commit",
            creation.thread,
            creation.sandbox_id,
            creation.attempt,
            self._terms.lifetime_ms,
            *write_placement(placement),
        )
        return read_lease(flat)

    async def abandon(self, creation: Creation, *, uid: str = "", name: str = "") -> None:
        """Give up a creation."""
        thread = creation.thread
        await self._run(
            "abandon",
            thread,
            creation.sandbox_id,
            creation.attempt,
            uid,
            name,
            thread.scope,
            thread.thread_id,
            creation.generation,
        )

    async def wait(self, thread: Thread, timeout_ms: int) -> None:
        """Wait until acquiring is worth another try."""
        tag, notices = thread_tag(thread), self._subscription.notices
        loop = asyncio.get_running_loop()
        end = loop.time() + timeout_ms / 1000
        await self._subscription.start(min(timeout_ms, _LOOK_MS))
        while True:
            # Expected before looking, so that a notice in between is not missed.
            with notices.expect(tag) as notice:
                _, busy_ms = await self._read(tag)
                rest = min(busy_ms / 1000, end - loop.time(), _LOOK_MS / 1000)
                if rest <= 0:
                    return
                await asyncio.wait([notice], timeout=rest)

    async def resolve(self, sandbox_id: str) -> Resolved:
        """Return the thread of a `sandbox_id`."""
        keys = [self._keys.sandbox(sandbox_id), *self._keys.of_store()]
        return read_resolved(await self._call("resolve", keys, "", sandbox_id))

    async def pin(
        self,
        thread: Thread,
        *,
        sandbox_id: str | None,
        pin_id: str,
        limit_ms: int,
        request: str | None = None,
    ) -> Lease:
        """Hold the lease for an operation."""
        most = self._terms.max_request_ids
        _, flat = await self._run(
            "pin", thread, sandbox_id or "", pin_id, limit_ms, request or "", most
        )
        return read_lease(flat)

    async def unpin(self, lease: Lease, *, pin_id: str, unstarted: str | None = None) -> None:
        """Let the pin go."""
        await self._run(
            "unpin", lease.thread, lease.sandbox_id, pin_id, unstarted or "", _boot_id(lease)
        )

    async def suspect(self, lease: Lease) -> None:
        """Mark a lease."""
        await self._mark(lease, "suspect", 1)

    async def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        await self._mark(lease, "suspect", 0)

    async def acknowledge_restart(self, lease: Lease) -> None:
        """Note that a restart was told."""
        await self._mark(lease, "restarted", 0)

    async def release(self, thread: Thread, *, sandbox_id: str | None) -> Released:
        """End a lease now."""
        state, *entry = await self._run("release", thread, sandbox_id or "")
        doomed = read_doomed(entry[0]) if entry and entry[0] else None
        return Released(already=state == "already", doomed=doomed)

    async def lose(self, lease: Lease) -> Doomed | None:
        """End a lease whose sandbox is gone."""
        _, entry = await self._run("lose", lease.thread, lease.sandbox_id, _boot_id(lease))
        return read_doomed(entry) if entry else None

    async def expire(self, limit: int) -> Expired:
        """End what is over."""
        _, more, *entries = await self._call("expire", self._keys.of_store(), "", limit)
        return Expired([read_doomed(entry) for entry in entries], more=more == "1")

    async def doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries."""
        return read_all_doomed(await self._call("doomed", self._keys.of_store(), "", limit))

    async def take_doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries that are due, and put them off."""
        pauses = (self._terms.pause_ms, MOST_DOUBLINGS)
        return read_all_doomed(
            await self._call("take_doomed", self._keys.of_store(), "", limit, *pauses)
        )

    async def doomed_among(self, uids: list[str]) -> set[str]:
        """Return which of these are doomed."""
        if not uids:
            return set()
        scores = await self._connection.scores(self._keys.doomed, uids)
        return {uid for uid, score in zip(uids, scores, strict=True) if score is not None}

    async def forget(self, uid: str) -> None:
        """Drop a doomed entry."""
        await self._call("forget", self._keys.of_store(), "", uid)

    async def get(self, thread: Thread) -> Lease | None:
        """Return the thread's lease."""
        return (await self._read(thread_tag(thread)))[0]

    async def leases(self) -> list[Lease]:
        """Return all leases."""
        tags = await self._connection.members(self._keys.live)
        found: list[Lease] = []
        for start in range(0, len(tags), _BATCH):
            batch = tags[start : start + _BATCH]
            reads = await asyncio.gather(*(self._read(tag) for tag in batch))
            found += [lease for lease, _ in reads if lease is not None]
        return found

    async def count(self) -> int:
        """Return how many leases there are."""
        return await self._connection.size(self._keys.live)

    async def once(self, name: str, ttl_ms: int) -> bool:
        """Return True for the first call with this name."""
        keys = [self._keys.once(name)]
        _, first = await self._call("once", keys, "", name, ttl_ms, secrets.token_hex(8))
        return bool(first == "1")

    async def _read(self, tag: str) -> tuple[Lease | None, int]:
        """Return the lease, and how many milliseconds an acquire would have to wait."""
        state, *found = await self._call("get", self._keys.of_thread(tag), tag)
        return (read_lease(found[0]), int(found[1])) if state == "lease" else (None, 0)

    async def _mark(self, lease: Lease, mark: str, value: int) -> None:
        await self._run("mark", lease.thread, lease.sandbox_id, _boot_id(lease), mark, value)

    async def _run(self, script: str, thread: Thread, *args: str | int) -> list[Any]:
        """Run a transition of one thread."""
        tag = thread_tag(thread)
        return await self._call(script, self._keys.of_thread(tag), tag, *args, thread=thread)

    async def _call(
        self,
        script: str,
        keys: list[str],
        tag: str,
        *args: str | int,
        thread: Thread | None = None,
    ) -> list[Any]:
        header = (self._keys.stem, tag, self._terms.ended_ms)
        answer = await self._connection.run(script, keys, (*header, *args))
        if answer[0] == "refused":
            # Scripts that refuse for the sake of a sandbox_id have it as their first argument.
            raise read_refusal(answer[1], thread, str(args[0]))
        return answer


def _boot_id(lease: Lease) -> str:
    return lease.placement.boot_id if lease.placement else ""
