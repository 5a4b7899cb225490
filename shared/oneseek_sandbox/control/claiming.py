"""Claiming the worker of a sandbox that starts: asked until it answers, wherever that is by then."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import SandboxStartError, SandboxTooOldError
from oneseek_sandbox.leases.store import Placement
from oneseek_sandbox.workers.client import WorkerNotReadyError

if TYPE_CHECKING:
    from oneseek_sandbox.auth import TokenKey
    from oneseek_sandbox.leases.store import Creation, Thread
    from oneseek_sandbox.runtimes.runtime import Runtime, SandboxObject
    from oneseek_sandbox.workers.claims import Variables
    from oneseek_sandbox.workers.client import WorkerClient
    from oneseek_sandbox.workers.replies import Claimed

__all__ = ["Claims"]

_FIRST_LOOK_SECONDS: Final = 0.002
_SLOWEST_LOOK_SECONDS: Final = 0.1
_STATE_LOOK_SECONDS: Final = 1.0


class Claims:
    """Waits for workers, and makes them ours.

    Args:
        startup_seconds: How long a sandbox may take until its worker answers.
    """

    def __init__(
        self,
        runtime: Runtime,
        workers: WorkerClient,
        token_key: TokenKey,
        *,
        startup_seconds: float,
    ) -> None:
        self._runtime = runtime
        self._workers = workers
        self._token_key = token_key
        self._startup_seconds = startup_seconds

    async def claim(
        self,
        creation: Creation,
        sandbox: SandboxObject,
        *,
        found: bool,
        idle_ms: int,
        env: Variables | None = None,
    ) -> Placement:
        """Claim a worker once it answers, and return where the sandbox is and who it is.

        The worker of a restarted sandbox takes the token of its lease and no other.

        Args:
            found: The sandbox was claimed before, so there may be files in it.
            env: What its commands are to get.

        Raises:
            ClaimConflictError: It was claimed with another token.
            CreationLostError: A later generation claimed it.
            SandboxStartError: It ended, or was not ready in time.
        """
        before = creation.placement
        token = before.token if before else self._token_key.token_for(sandbox.uid)
        try:
            sandbox, claimed = await self._answering(creation, sandbox, token, idle_ms, env)
        except SandboxTooOldError:
            if before is None or env is None:
                raise
            # A server of before started it again: better without variables than not at all.
            sandbox, claimed = await self._answering(creation, sandbox, token, idle_ms, None)
        return Placement(
            uid=sandbox.uid,
            name=sandbox.name,
            address=sandbox.address,
            token=token,
            key_id=before.key_id if before else self._token_key.key_id,
            boot_id=claimed.boot_id,
            features=tuple(claimed.features),
            warm=sandbox.warm,
            # Whoever began this may have died after the start and before the claim.
            restarted=sandbox.restarted
            or (before is not None and (before.restarted or before.boot_id != claimed.boot_id)),
            # Whoever claimed it before may have reported it to nobody: an empty workspace is as good as new.
            fresh=before.fresh if before else not found or claimed.empty,
        )

    async def _answering(
        self,
        creation: Creation,
        sandbox: SandboxObject,
        token: str,
        idle_ms: int,
        env: Variables | None,
    ) -> tuple[SandboxObject, Claimed]:
        """Ask the worker until it answers, the quickest sign of readiness.

        Returns:
            The sandbox, with the address at which it answered, and what its worker said.
        """
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._startup_seconds
        pause, next_look = _FIRST_LOOK_SECONDS, clock() + _STATE_LOOK_SECONDS
        while True:
            try:
                claimed = await self._workers.claim(
                    sandbox.address,
                    token=token,
                    generation=creation.generation,
                    idle_ms=idle_ms,
                    uid=sandbox.uid,
                    env=env,
                )
            except WorkerNotReadyError:
                if clock() >= next_look:
                    await self._refuse_dead(sandbox)
                    sandbox = await self._readdressed(creation.thread, sandbox)
                    next_look = clock() + _STATE_LOOK_SECONDS
                if clock() > deadline:
                    raise await self._too_slow(sandbox) from None
                await asyncio.sleep(pause)
                pause = min(pause * 1.5, _SLOWEST_LOOK_SECONDS)
            else:
                return sandbox, claimed

    async def _refuse_dead(self, sandbox: SandboxObject) -> None:
        if await self._runtime.inspect(sandbox.uid, sandbox.name) != "running":
            reason = await self._runtime.explain(sandbox.uid, sandbox.name)
            raise SandboxStartError(
                f"The new sandbox ended before it was ready. {reason or 'Try again.'}"
            )

    async def _readdressed(self, thread: Thread, sandbox: SandboxObject) -> SandboxObject:
        """Return a sandbox with its address of now: one that starts again may get another."""
        for found in await self._runtime.find(thread):
            if found.uid == sandbox.uid:
                return replace(sandbox, address=found.address)
        return sandbox

    async def _too_slow(self, sandbox: SandboxObject) -> SandboxStartError:
        reason = await self._runtime.explain(sandbox.uid, sandbox.name)
        return SandboxStartError(
            f"The new sandbox was not ready within {self._startup_seconds:g} s "
            f"(STARTUP_TIMEOUT_SECONDS). {reason or 'Try again.'}"
        )
