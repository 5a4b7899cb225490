"""Judging a sandbox that does not answer: only what is proved gone is given up.

Silence proves nothing, and neither does another process inside: where the runtime says that the
lease's own sandbox is there, its worker is claimed again, and its files stay. A verdict names the
process it judged (its boot id), so that one that comes late is void.
"""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Final, Literal

from oneseek_sandbox.errors import (
    CreationLostError,
    SandboxError,
    SandboxLostError,
    SandboxUnavailableError,
)
from oneseek_sandbox.leases.store import Creation
from oneseek_sandbox.workers.claims import ClaimConflictError, Variables
from oneseek_sandbox.workers.client import WorkerNotReadyError

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease, LeaseStore
    from oneseek_sandbox.runtimes.runtime import Runtime
    from oneseek_sandbox.workers.client import WorkerClient
    from oneseek_sandbox.workers.replies import Health

__all__ = ["Judge", "Verdict"]

Verdict = Literal["answers", "gone", "stopped", "replaced"]
"""`stopped`: no process, the files are there. `replaced`: another process than the lease's stands
there, or at another address, and is to be claimed again.
"""

_HEALTH_SECONDS: Final = 5.0
_ENDING_SECONDS: Final = 2.0
_FIRST_LOOK_SECONDS: Final = 0.02


class Judge:
    """Asks the worker, then the runtime."""

    def __init__(self, store: LeaseStore, runtime: Runtime, workers: WorkerClient) -> None:
        self._store = store
        self._runtime = runtime
        self._workers = workers

    async def answers(self, lease: Lease, *, idle_ms: int | None = None) -> bool:
        """Ask the worker, and clear the lease's mark when it answers.

        One that has other variables than the lease is given those.
        """
        try:
            health = await self._ask(lease, idle_ms=idle_ms)
        except SandboxError:
            return False
        if health.env_version != lease.env_version and lease.gives_env:
            await self._bring_env(lease)
        if lease.suspect:
            await self._store.clear(lease)
        return True

    async def is_resting(self, lease: Lease) -> bool:
        """Ask the worker whether nothing with a time limit runs in the background any more."""
        try:
            return (await self._ask(lease)).lasting == 0
        except SandboxError:
            return False

    async def judge(self, lease: Lease) -> Verdict:
        """Say what became of a ready lease's sandbox that did not answer.

        Raises:
            SandboxUnavailableError: It runs and does not answer; nothing is thrown away for that.
        """
        await self._store.suspect(lease)
        clock = asyncio.get_running_loop().time
        deadline, pause = clock() + _ENDING_SECONDS, _FIRST_LOOK_SECONDS
        while True:
            verdict = await self._look(lease)
            if isinstance(verdict, str):
                return verdict
            # One that was just killed still runs for a moment, as the kernel sees it.
            if clock() > deadline:
                raise _silent(lease) from verdict
            await asyncio.sleep(pause)
            pause *= 2

    async def _look(self, lease: Lease) -> Verdict | SandboxError:
        """Return a verdict, or with what error the worker of a sandbox that runs fails to answer."""
        placement = lease.placement
        assert placement is not None  # noqa: S101 - a ready lease has one
        state = await self._runtime.inspect(placement.uid, placement.name)
        if state != "running":
            return state
        if await self._has_moved(lease):
            return "replaced"
        try:
            await self._ask(lease)
        except SandboxLostError:
            return "replaced"
        except SandboxError as error:
            return error
        return "answers"

    async def restart(self, lease: Lease) -> Creation | None:
        """Return the right to start or claim the sandbox again; None when the lease has changed."""
        try:
            outcome = await self._store.restart(lease, attempt=secrets.token_hex(16))
        except CreationLostError:
            return None
        return outcome if isinstance(outcome, Creation) else None

    async def _bring_env(self, lease: Lease) -> None:
        """Give a worker the variables that its lease was given since it was claimed."""
        placement = lease.placement
        assert placement is not None  # noqa: S101 - a ready lease has one
        env = Variables(await self._store.env(lease.sandbox_id), lease.env_version)
        try:
            await self._workers.claim(
                placement.address,
                token=placement.token,
                generation=lease.generation,
                idle_ms=lease.idle_ms,
                uid=placement.uid,
                env=env,
            )
        except (CreationLostError, ClaimConflictError):
            return  # another's since, who knows better
        except WorkerNotReadyError as error:
            raise _silent(lease) from error

    async def _ask(self, lease: Lease, *, idle_ms: int | None = None) -> Health:
        try:
            async with asyncio.timeout(_HEALTH_SECONDS):
                return await self._workers.health(lease, idle_ms=idle_ms)
        except TimeoutError as error:
            raise _silent(lease) from error

    async def _has_moved(self, lease: Lease) -> bool:
        """Return whether the sandbox has another address than the lease knows."""
        placement = lease.placement
        return placement is not None and any(
            sandbox.uid == placement.uid and sandbox.address not in ("", placement.address)
            for sandbox in await self._runtime.find(lease.thread)
        )


def _silent(lease: Lease) -> SandboxUnavailableError:
    return SandboxUnavailableError(
        f"The sandbox of thread {lease.thread.thread_id!r} is running but does not respond. Try "
        "again; to give its files up and start anew, release it and acquire again."
    )
