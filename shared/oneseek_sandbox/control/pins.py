"""Operations under a lease: find it, keep it from expiring, and judge fairly when it fails."""

from __future__ import annotations

import asyncio
import logging
import secrets
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import (
    CommandError,
    InvalidRequestError,
    SandboxError,
    SandboxLostError,
    SandboxUnavailableError,
    UnavailableError,
    WorkspaceError,
)
from oneseek_sandbox.lasting import Lasting
from oneseek_sandbox.leases.facts import facts_of_lease
from oneseek_sandbox.leases.keys import request_digest
from oneseek_sandbox.leases.refusals import refusal
from oneseek_sandbox.leases.store import Resolved, Thread
from oneseek_sandbox.recent import Recent
from oneseek_sandbox.telemetry.spans import current_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.leases.store import Lease, LeaseStore
    from oneseek_sandbox.models import SandboxReference

__all__ = ["Pins"]

log = logging.getLogger(__name__)

_GRACE_MS: Final = 30_000
"""How much longer than its operation a pin may last, for what surrounds the operation."""
_REMEMBERED_IDS: Final = 10_000


class Pins:
    """Pins leases for the data verbs."""

    def __init__(self, store: LeaseStore) -> None:
        self._store = store
        # A sandbox_id belongs to one thread for ever, so this needs no invalidation.
        self._threads: Recent[str, Thread] = Recent(_REMEMBERED_IDS)
        self._letting_go = Lasting()

    async def close(self) -> None:
        """Wait until the pins of ended operations are gone."""
        await self._letting_go.close()

    async def locate(
        self, reference: SandboxReference, caller: Caller, *, also_ended: bool = False
    ) -> tuple[Thread, str | None]:
        """Return the thread a request names, and the `sandbox_id` when it was named by that.

        Args:
            also_ended: Return the thread of a `sandbox_id` that has ended, too.

        Raises:
            LeaseNotFoundError: No such sandbox, or not for this caller: the two look the same.
            SandboxGoneError: The `sandbox_id` has ended; the class says how.
            ForbiddenError: The key does not reach the scope.
        """
        if reference.thread_id is not None:
            return Thread(caller.scope(reference.scope), reference.thread_id), None
        sandbox_id = reference.sandbox_id or ""
        known = self._threads.get(sandbox_id)
        resolved = Resolved(known) if known else await self._store.resolve(sandbox_id)
        thread = resolved.thread
        if not caller.reaches(thread.scope):
            raise refusal("unknown", sandbox_id=sandbox_id)
        if resolved.end is not None and not also_ended:
            raise refusal(resolved.end, sandbox_id=sandbox_id)
        self._threads[sandbox_id] = thread
        return thread, sandbox_id

    @asynccontextmanager
    async def hold(
        self,
        reference: SandboxReference,
        caller: Caller,
        limit_ms: int,
        *,
        request_id: str | None = None,
        sent: str | None = None,
        busy_ms: int = 0,
    ) -> AsyncIterator[Lease]:
        """Pin the lease for one operation of at most `limit_ms`, and let go at its end.

        Args:
            request_id: The operation is done once, and goes on in the sandbox when the caller goes
                away; its pin then stays until its own deadline.
            sent: The `request_id` of an earlier operation that this one is about.
            busy_ms: How long what it starts may run in the background.
        """
        thread, sandbox_id = await self.locate(reference, caller)
        request = None if request_id is None else request_digest(request_id)
        pin_id = secrets.token_hex(8)
        pinning = asyncio.ensure_future(
            self._store.pin(
                thread,
                sandbox_id=sandbox_id,
                pin_id=pin_id,
                limit_ms=limit_ms + _GRACE_MS,
                request=request,
                sent=None if sent is None else request_digest(sent),
                busy_ms=busy_ms,
            )
        )
        try:
            lease = await asyncio.shield(pinning)
        except asyncio.CancelledError:
            self._letting_go.begin(self._take_back(pinning, pin_id, request))
            raise
        current_span().note(facts_of_lease(lease))
        stays, unstarted = request is not None, None
        try:
            yield lease
            stays = False
        except SandboxError as error:
            if _is_unstarted(error):
                stays, unstarted = False, request
            if isinstance(error, SandboxLostError):
                await self._mark(lease)
            elif isinstance(error, SandboxUnavailableError):
                await self._judge(lease, error)
            raise
        finally:
            if not stays:
                # A task of its own: the scope of a dropped stream cancels every await in it.
                await self._letting_go.see_through(self._let_go(lease, pin_id, unstarted))

    async def _judge(self, lease: Lease, error: SandboxUnavailableError) -> None:
        """Say 410 when the lease ended under the operation; else leave a mark for acquire.

        Raises:
            SandboxGoneError: It was released, expired or lost meanwhile.
        """
        try:
            current = await self._store.get(lease.thread)
            if current is None or current.sandbox_id != lease.sandbox_id:
                end = (await self._store.resolve(lease.sandbox_id)).end
                raise refusal(end or "lost", sandbox_id=lease.sandbox_id)
        except UnavailableError:
            return
        except SandboxError as gone:
            gone.may_have_run = error.may_have_run
            raise gone from error
        await self._mark(lease)

    async def _mark(self, lease: Lease) -> None:
        try:
            await self._store.suspect(lease)
        except UnavailableError as error:
            log.warning("Could not mark a sandbox that did not answer: %s", error)

    async def _take_back(
        self, pinning: asyncio.Future[Lease], pin_id: str, request: str | None
    ) -> None:
        """Let go of a pin whose caller left while it was made: nothing was asked of the worker."""
        with suppress(SandboxError):
            await self._let_go(await pinning, pin_id, request)

    async def _let_go(self, lease: Lease, pin_id: str, unstarted: str | None) -> None:
        try:
            await self._store.unpin(lease, pin_id=pin_id, unstarted=unstarted)
        except SandboxError as error:
            # The pin ends by its own deadline; the answer matters more.
            log.warning("Could not let go of a pin: %s", error)


def _is_unstarted(error: SandboxError) -> bool:
    """Return whether no command of this call ran: the worker refused it, or was never reached.

    A worker that is another process than the lease's says so before it takes a request.
    """
    if error.may_have_run is not None:
        return not error.may_have_run
    refusals = (CommandError, InvalidRequestError, SandboxLostError, WorkspaceError)
    return isinstance(error, refusals)
