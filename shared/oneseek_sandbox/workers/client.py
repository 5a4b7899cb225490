"""The client of the workers: the data operations, over pooled and proved connections.

A lease's placement is all it needs. Errors say whether a command may have run where it matters.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import (
    OutputNotTakenError,
    SandboxUnavailableError,
)
from oneseek_sandbox.leases.facts import facts_of_lease
from oneseek_sandbox.telemetry.facts import facts_of
from oneseek_sandbox.telemetry.spans import start_span
from oneseek_sandbox.workers.bodies import read_header, read_pieces, read_whole
from oneseek_sandbox.workers.claims import claim_body, read_claimed
from oneseek_sandbox.workers.connection import Peer
from oneseek_sandbox.workers.execution import Execution, Gap, Piece, Started
from oneseek_sandbox.workers.failures import broken, failures
from oneseek_sandbox.workers.features import require_fields
from oneseek_sandbox.workers.pool import WirePool
from oneseek_sandbox.workers.replies import (
    Cancelled,
    Entries,
    Exit,
    Health,
    ReadMeta,
    Replaced,
    Written,
    error_from,
    parse,
)
from oneseek_sandbox.workers.request import Request
from oneseek_sandbox.workers.wire import WireError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator

    from oneseek_sandbox.leases.store import Lease
    from oneseek_sandbox.telemetry.spans import Span
    from oneseek_sandbox.workers.claims import Variables
    from oneseek_sandbox.workers.replies import Claimed
    from oneseek_sandbox.workers.request import Answer

__all__ = [
    "PATIENCE_SECONDS",
    "OpenFile",
    "WorkerClient",
    "WorkerNotReadyError",
]

_OK: Final = 200
_SMALL_ANSWER: Final = 32 * 1024 * 1024
_CLAIM_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 30.0
_WHOLE_ANSWER_SECONDS: Final = 60.0
PATIENCE_SECONDS: Final = 30.0
"""After so long a worker gives up a caller that takes nothing."""


class WorkerNotReadyError(Exception):
    """Raised when nothing answers at a worker's address yet."""


@dataclass(frozen=True, slots=True)
class OpenFile:
    """A file being read: what is known of it, and its bytes as they come."""

    meta: ReadMeta
    chunks: AsyncIterator[bytes]


class WorkerClient:
    """Talks to the workers of many sandboxes."""

    def __init__(self) -> None:
        self._pool = WirePool()

    async def close(self) -> None:
        """Close the pooled connections."""
        self._pool.close()

    async def claim(
        self,
        address: str,
        *,
        token: str,
        generation: int,
        idle_ms: int,
        uid: str | None = None,
        env: Variables | None = None,
    ) -> Claimed:
        """Make a worker ours; one that was started for another `uid` is sent nothing.

        Raises:
            WorkerNotReadyError: Nothing answers there yet, or another sandbox's worker.
            ClaimConflictError: It belongs to somebody else, or does not know any more who claimed
                the process before it (its marker is damaged).
            CreationLostError: A later generation claimed it.
        """
        body = claim_body(token, generation, idle_ms, env)
        try:
            request = Request("POST", "/claim", (), _json(body), read_seconds=_CLAIM_SECONDS)
            async with self._pool.asked(Peer(address, uid=uid), request) as response:
                content = await read_whole(response, _SMALL_ANSWER)
        except WireError as error:
            raise WorkerNotReadyError(str(error)) from error
        return read_claimed(response.status, content)

    async def health(self, lease: Lease, *, idle_ms: int | None = None) -> Health:
        """Ask whether the worker lives, and tell it the idle time."""
        query = "" if idle_ms is None else f"?idle_seconds={max(1, idle_ms // 1000)}"
        return parse(Health, await self.ask(lease, "GET", "/health" + query, b""))

    async def execute(
        self, lease: Lease, request: dict[str, Any], *, live_bytes: int | None = None
    ) -> AsyncGenerator[Started | Piece | Gap | Exit, None]:
        """Run a command; yields how it ended, and when `stream` is set before that its output.

        Args:
            live_bytes: How much of stdout, and of stderr, comes as it is printed; as long as that is
                so, a caller that takes it slowly slows the command. Left out, `max_output_bytes`.

        Raises:
            OutputNotTakenError: The caller took nothing for so long that the worker gave it up.
            SandboxUnavailableError: The answer broke off; `may_have_run` says whether the command
                may have started.
        """
        require_fields(lease, request)
        execution = Execution(request, live_bytes)
        clock = asyncio.get_running_loop().time
        longest = 0.0
        try:
            async with (
                self._request(
                    lease, "POST", "/execute", _json(request), execution.headers, execution.seconds
                ) as (response, span),
                aclosing(execution.pieces(response)) as pieces,
            ):
                async for piece in pieces:
                    given = clock()
                    yield piece
                    longest = max(longest, clock() - given)
                if ended := execution.ended:
                    span.note(facts_of(ended))
                    span.note({"sandbox.stdout_bytes": ended.stdout.bytes})
                    span.note({"sandbox.stderr_bytes": ended.stderr.bytes})
        except SandboxUnavailableError as error:
            if longest < PATIENCE_SECONDS - 1:
                raise
            raise OutputNotTakenError.after(PATIENCE_SECONDS) from error
        for event in execution.end():
            yield event

    async def cancel(self, lease: Lease, request_id: str) -> Cancelled:
        """End a running command by its `request_id`."""
        body = _json({"request_id": request_id})
        return parse(Cancelled, await self.ask(lease, "POST", "/cancel", body))

    async def ls(self, lease: Lease, request: dict[str, Any]) -> Entries:
        """List a directory."""
        return parse(Entries, await self.ask(lease, "POST", "/ls", _json(request)))

    @asynccontextmanager
    async def read(self, lease: Lease, request: dict[str, Any]) -> AsyncIterator[OpenFile]:
        """Open a file for reading; the bytes come while the context lasts."""
        async with self._request(lease, "POST", "/read", _json(request)) as (response, span):
            meta = parse(ReadMeta, read_header(response, b"x-meta"))
            span.note(facts_of(meta))
            most = min(meta.size, request.get("limit") or meta.size)
            yield OpenFile(meta, read_pieces(response, most))

    async def write(
        self, lease: Lease, meta: dict[str, Any], content: bytes | AsyncIterable[bytes]
    ) -> Written:
        """Write a file from bytes, or from a stream of them."""
        headers = {"x-meta": json.dumps(meta)}
        return parse(Written, await self.ask(lease, "POST", "/write", content, headers))

    async def replace(self, lease: Lease, request: dict[str, Any]) -> Replaced:
        """Replace exact text in a file."""
        return parse(Replaced, await self.ask(lease, "POST", "/replace", _json(request)))

    async def ask(
        self,
        lease: Lease,
        method: str,
        target: str,
        content: bytes | AsyncIterable[bytes],
        headers: dict[str, str] | None = None,
        *,
        seconds: float | None = None,
    ) -> bytes:
        """Ask a worker and return its answer.

        Args:
            seconds: How long the worker may be silent, and take in all; as for a file by default.
        """
        silent, whole = seconds or _ANSWER_SECONDS, seconds or _WHOLE_ANSWER_SECONDS
        # An upload goes on as long as its sender does.
        most = whole if isinstance(content, bytes) else None
        try:
            async with (
                asyncio.timeout(most),
                self._request(lease, method, target, content, headers, silent) as (response, _),
            ):
                return await read_whole(response, _SMALL_ANSWER)
        except TimeoutError:
            raise broken("did not end its answer in time") from None

    @asynccontextmanager
    async def _request(
        self,
        lease: Lease,
        method: str,
        target: str,
        content: bytes | AsyncIterable[bytes],
        headers: dict[str, str] | None = None,
        read_seconds: float = _ANSWER_SECONDS,
    ) -> AsyncIterator[tuple[Answer, Span]]:
        """Send one request under a lease; inside, the answer's status is 200.

        The worker tells nobody of spans: this side's are all there is of what it does.
        """
        placement = lease.placement
        if placement is None:
            raise SandboxUnavailableError("The sandbox is still being created; acquire it first.")
        peer = Peer(placement.address, placement.token, placement.boot_id)
        name = target.partition("?")[0].replace("/", "worker.")
        span = start_span(name, "client", facts_of_lease(lease))
        fenced = {
            "x-sandbox-token": placement.token,
            "x-sandbox-generation": str(lease.generation),
            **_trace(span),
            **(headers or {}),
        }
        with span.ending(), failures():
            request = Request(
                method, target, fenced.items(), content, _ANSWER_SECONDS, read_seconds
            )
            async with self._pool.asked(peer, request) as answer:
                if answer.status != _OK:
                    raise error_from(answer.status, await read_whole(answer, _SMALL_ANSWER))
                yield answer, span


def _trace(span: Span) -> dict[str, str]:
    traceparent = span.traceparent
    return {"traceparent": traceparent} if traceparent else {}


def _json(value: dict[str, Any]) -> bytes:
    given = {name: item for name, item in value.items() if item is not None}
    # As it is, not in escapes: a body may be as large as the worker takes.
    return json.dumps(given, ensure_ascii=False).encode()
