"""The lease store in Redis: one Lua script per transition, on the server's clock."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.leases.connection import RedisConnection
from oneseek_sandbox.leases.doomed import MOST_DOUBLINGS
from oneseek_sandbox.leases.keys import KeyNames, thread_tag
from oneseek_sandbox.leases.script_replies import (
    read_acquired,
    read_all_doomed,
    read_creation,
    read_doomed,
    read_lease,
    read_listed,
    read_look,
    read_resolved,
    write_placement,
)
from oneseek_sandbox.leases.store import Busy, Creation, Expired, LeaseTerms, Released
from oneseek_sandbox.leases.subscription import Subscription
from oneseek_sandbox.leases.transitions import Transitions, fence, seen

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
        name: For the server's list of connections.
    """

    def __init__(
        self,
        url: str,
        terms: LeaseTerms | None = None,
        prefix: str = "oneseek",
        *,
        revive: Callable[[], Awaitable[object]] | None = None,
        name: str = "",
    ) -> None:
        self._terms = terms or LeaseTerms()
        self._keys = KeyNames(prefix)
        self._connection = RedisConnection(url, revive, name=name)
        self._transitions = Transitions(self._connection, self._keys, self._terms)
        self._subscription = Subscription(self._connection, self._keys.notices)

    async def open(self) -> None:
        """Connect, and refuse a server that evicts."""
        await self._connection.open()

    async def close(self) -> None:
        """Close all connections."""
        await self._subscription.stop()
        await self._connection.close()

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
        """Take the lease, or the right to create."""
        terms = self._terms
        asked = ("" if idle_ms is None else idle_ms, *(seen(lost) if lost else ("", "")))
        limits = (terms.creation_ms, terms.idle_ms, terms.max_sandboxes)
        names = (attempt, secrets.token_hex(16), *asked, thread.scope, thread.thread_id)
        answer = await self._transitions.of_thread(
            "acquire", thread, *names, *limits, labels or "", env or ""
        )
        return read_acquired(answer)

    async def restart(self, lease: Lease, *, attempt: str) -> Creation | Busy:
        """Begin to start a sandbox again."""
        answer = await self._transitions.of_thread(
            "restart", lease.thread, *seen(lease), attempt, self._terms.creation_ms
        )
        outcome = read_acquired(answer)
        assert isinstance(outcome, Creation | Busy)  # noqa: S101
        return outcome

    async def renew(self, creation: Creation, *, above_generation: int = 0) -> Creation:
        """Prolong a creation."""
        _, flat = await self._transitions.of_thread(
            "renew",
            creation.thread,
            *fence(creation),
            self._terms.creation_ms,
            above_generation,
        )
        return read_creation(flat)

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
        """Make the lease ready."""
        _, flat = await self._transitions.of_thread(
            "commit",
            creation.thread,
            *fence(creation),
            self._terms.lifetime_ms,
            created_ms,
            idle_ms,
            int(unasked),
            labels,
            int(env_lost),
            *write_placement(placement),
        )
        return read_lease(flat)

    async def abandon(self, creation: Creation, *, uid: str = "", name: str = "") -> Doomed | None:
        """Give up a creation."""
        thread = creation.thread
        _, entry = await self._transitions.of_thread(
            "abandon",
            thread,
            *fence(creation),
            uid,
            name,
            thread.scope,
            thread.thread_id,
            creation.generation,
        )
        return read_doomed(entry) if entry else None

    async def wait(self, thread: Thread, timeout_ms: int) -> None:
        """Wait until acquiring is worth another try."""
        tag = thread_tag(thread)

        async def busy_ms() -> int:
            return (await self._read(tag))[1]

        await self._subscription.wait(tag, busy_ms, timeout_ms=timeout_ms, look_ms=_LOOK_MS)

    async def resolve(self, sandbox_id: str) -> Resolved:
        """Return the thread of a `sandbox_id`."""
        keys = [self._keys.sandbox(sandbox_id), *self._keys.of_store()]
        return read_resolved(await self._transitions.run("resolve", keys, "", sandbox_id))

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
        """Hold the lease for an operation."""
        held = (sandbox_id or "", pin_id, limit_ms)
        noted = (request or "", self._terms.max_request_ids, sent or "")
        _, flat = await self._transitions.of_thread("pin", thread, *held, *noted, busy_ms)
        return read_lease(flat)

    async def unpin(self, lease: Lease, *, pin_id: str, unstarted: str | None = None) -> None:
        """Let the pin go."""
        await self._transitions.of_thread(
            "unpin", lease.thread, lease.sandbox_id, pin_id, unstarted or "", lease.boot_id
        )

    async def rest(self, lease: Lease) -> None:
        """Note that nothing runs in the background any more."""
        await self._transitions.of_thread("rest", lease.thread, *seen(lease))

    async def suspect(self, lease: Lease) -> None:
        """Mark a lease."""
        await self._transitions.of_thread("mark", lease.thread, *seen(lease), 1)

    async def clear(self, lease: Lease) -> None:
        """Take the mark away."""
        await self._transitions.of_thread("mark", lease.thread, *seen(lease), 0)

    async def take_news(self, lease: Lease, *, teller: str) -> bool:
        """Return whether this acquire is to tell what is new."""
        return await self._news(lease, teller, "take")

    async def settle_news(self, lease: Lease, *, teller: str, heard: bool) -> None:
        """Note what became of the news."""
        await self._news(lease, teller, "heard" if heard else "unheard")

    async def release(
        self, thread: Thread, *, sandbox_id: str | None, found_generation: int = 0
    ) -> Released:
        """End a lease now."""
        names = (sandbox_id or "", found_generation, thread.scope, thread.thread_id)
        state, *found = await self._transitions.of_thread("release", thread, *names)
        if state == "already":
            return Released(already=True, doomed=None)
        entry, generation = found
        return Released(False, read_doomed(entry) if entry else None, int(generation))

    async def lose(self, lease: Lease) -> Doomed | None:
        """End a lease whose sandbox is gone."""
        _, entry = await self._transitions.of_thread("lose", lease.thread, *seen(lease))
        return read_doomed(entry) if entry else None

    async def expire(self, limit: int) -> Expired:
        """End what is over."""
        _, more, *entries = await self._transitions.of_store("expire", limit)
        return Expired([read_doomed(entry) for entry in entries], more=more == "1")

    async def doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries."""
        return read_all_doomed(await self._transitions.of_store("doomed", limit))

    async def take_doomed(self, limit: int) -> list[Doomed]:
        """Return doomed entries that are due, and put them off."""
        pauses = (self._terms.pause_ms, MOST_DOUBLINGS)
        return read_all_doomed(await self._transitions.of_store("take_doomed", limit, *pauses))

    async def doomed_among(self, uids: list[str]) -> dict[str, Doomed]:
        """Return the entries of those that are doomed."""
        if not uids:
            return {}
        entries = await self._connection.fields(self._keys.doomed_entries, uids)
        return {e.uid: e for e in map(read_doomed, filter(None, entries))}

    async def forget(self, uid: str) -> None:
        """Drop a doomed entry."""
        await self._transitions.of_store("forget", uid)

    async def get(self, thread: Thread) -> Lease | None:
        """Return the thread's lease."""
        return (await self._read(thread_tag(thread)))[0]

    async def env(self, sandbox_id: str) -> str:
        """Return the variables that a lease was given."""
        return await self._connection.text(self._keys.env(sandbox_id))

    async def leases(self) -> list[Lease]:
        """Return all leases."""
        tags = await self._connection.members(self._keys.live)
        found: list[Lease] = []
        for start in range(0, len(tags), _BATCH):
            batch = tags[start : start + _BATCH]
            reads = await asyncio.gather(*(self._look(tag) for tag in batch))
            found += filter(None, map(read_listed, batch, reads))
        return found

    async def count(self) -> int:
        """Return how many leases there are."""
        return await self._connection.size(self._keys.live)

    async def once(self, name: str, ttl_ms: int) -> bool:
        """Return True for the first call with this name."""
        keys, token = [self._keys.once(name)], secrets.token_hex(8)
        _, first = await self._transitions.run("once", keys, "", name, ttl_ms, token)
        return bool(first == "1")

    async def _read(self, tag: str) -> tuple[Lease | None, int]:
        """Return the lease, and how many milliseconds an acquire would have to wait."""
        return read_look(await self._look(tag))

    async def _look(self, tag: str) -> list[Any]:
        return await self._transitions.run("get", self._keys.of_thread(tag), tag)

    async def _news(self, lease: Lease, teller: str, what: str) -> bool:
        _, taken = await self._transitions.of_thread(
            "news", lease.thread, *seen(lease), teller, what, self._terms.creation_ms
        )
        return bool(taken == "1")
