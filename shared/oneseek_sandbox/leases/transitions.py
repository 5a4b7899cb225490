"""Running the Lua scripts: which keys each may touch, what all are given, and refusals as errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from oneseek_sandbox.leases.keys import thread_tag
from oneseek_sandbox.leases.script_replies import read_refusal

if TYPE_CHECKING:
    from oneseek_sandbox.leases.connection import RedisConnection
    from oneseek_sandbox.leases.keys import KeyNames
    from oneseek_sandbox.leases.store import Creation, Lease, LeaseTerms, Thread

__all__ = ["Transitions", "fence", "seen"]


class Transitions:
    """Calls scripts by name; `scripts/lease.lua` says what their first arguments are."""

    def __init__(self, connection: RedisConnection, keys: KeyNames, terms: LeaseTerms) -> None:
        self._connection = connection
        self._keys = keys
        self._terms = terms

    async def of_thread(self, script: str, thread: Thread, *args: str | int) -> list[Any]:
        """Run a transition of one thread."""
        tag = thread_tag(thread)
        return await self.run(script, self._keys.of_thread(tag), tag, *args, thread=thread)

    async def of_store(self, script: str, *args: str | int) -> list[Any]:
        """Run a transition of any thread."""
        return await self.run(script, self._keys.of_store(), "", *args)

    async def run(
        self,
        script: str,
        keys: list[str],
        tag: str,
        *args: str | int,
        thread: Thread | None = None,
    ) -> list[Any]:
        """Run a script and return its answer.

        Raises:
            StoreUnavailableError: No answer; it may have taken place all the same.
            SandboxError: It refused.
        """
        header = (self._keys.stem, tag, self._terms.ended_ms)
        answer = await self._connection.run(script, keys, (*header, *args))
        if answer[0] == "refused":
            # Scripts that refuse for the sake of a sandbox_id have it as their first argument.
            raise read_refusal(answer[1], thread, str(args[0]))
        return answer


def fence(creation: Creation) -> tuple[str, str]:
    """Return what a creation is known by."""
    return creation.sandbox_id, creation.attempt


def seen(lease: Lease) -> tuple[str, str]:
    """Return by what a store knows the sandbox process that a lease shows."""
    return lease.sandbox_id, lease.boot_id
