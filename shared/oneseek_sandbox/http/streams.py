"""Answers that hold something until they are sent, or cannot be: streams, and acquires."""

from __future__ import annotations

import asyncio
import logging
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response, StreamingResponse

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.telemetry.spans import CANCELLED

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from starlette.requests import Request
    from starlette.types import Message, Receive, Scope, Send

    from oneseek_sandbox.http.running import RunningCalls
    from oneseek_sandbox.telemetry.operations import Operation

__all__ = ["PING_SECONDS", "StreamedResponse", "delivered"]

log = logging.getLogger(__name__)

_PATIENCE_SECONDS: Final = 30.0
"""A caller that takes nothing for so long counts as gone, as it does for a worker."""

PING_SECONDS: Final = 15.0
_BUSY_SECONDS: Final = 0.5

_T = TypeVar("_T")


async def delivered(
    request: Request,
    answering: AbstractAsyncContextManager[_T],
    respond: Callable[[_T], Response],
) -> Response:
    """Return the response to an answer whose context is left once it is sent.

    It is left with an error when the answer cannot be sent: then nobody has heard it.

    Raises:
        ClientDisconnect: The caller went away meanwhile.
    """
    async with AsyncExitStack() as delivery:
        response = respond(await delivery.enter_async_context(answering))
        if await request.is_disconnected():
            raise ClientDisconnect
        return _DeliveredResponse(response, delivery.pop_all())


class _DeliveredResponse(Response):
    """A response that leaves a context once it is sent."""

    def __init__(self, response: Response, delivery: AsyncExitStack) -> None:
        super().__init__(response.body, response.status_code)
        self.raw_headers = response.raw_headers
        self._delivery = delivery

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        async with self._delivery:
            await super().__call__(scope, receive, send)


class _Quiet:
    """Sends a ping when a stream is quiet for PING_SECONDS, between its messages and never in one."""

    def __init__(self, ping: bytes) -> None:
        self._ping = ping
        self._sending = asyncio.Lock()
        self._since = 0.0
        self._is_open = False

    @asynccontextmanager
    async def broken(self, message: Message) -> AsyncIterator[None]:
        """Send a message of the stream inside."""
        async with self._sending:
            self._is_open = message.get("more_body", True)
            yield
            self._since = asyncio.get_running_loop().time()

    @asynccontextmanager
    async def watched(self, send: Send) -> AsyncIterator[None]:
        """Send pings while the stream is sent inside."""
        if not self._ping:
            yield
            return
        pinging = asyncio.ensure_future(self._send_pings(send))
        try:
            yield
        finally:
            pinging.cancel()
            await asyncio.gather(pinging, return_exceptions=True)

    async def _send_pings(self, send: Send) -> None:
        clock = asyncio.get_running_loop().time
        self._since = clock()
        while True:
            left = self._since + PING_SECONDS - clock()
            if left > 0 or not self._is_open or self._sending.locked():
                await asyncio.sleep(max(left, _BUSY_SECONDS))
            else:
                await send({"type": "http.response.body", "body": self._ping, "more_body": True})


class StreamedResponse(StreamingResponse):
    """Sends bytes as they come, and closes what they come from in the end.

    Args:
        opened: What is open for them, like a pin and a connection. A caller who leaves before the
            first byte never lets a generator run, which so could not close it.
        ping: Sent whenever nothing was for PING_SECONDS, so that no proxy takes the stream for dead.

    Attributes:
        operation: The call that this answers; it ends with the stream.
    """

    operation: Operation | None = None

    def __init__(
        self,
        content: AsyncIterator[bytes],
        opened: AsyncExitStack,
        running: RunningCalls,
        *,
        ping: bytes = b"",
        **options: Any,  # noqa: ANN401 - those of StreamingResponse
    ) -> None:
        super().__init__(content, **options)
        self._ping = ping
        self._opened = opened
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close what it comes from in any case."""
        with self.operation.ending() if self.operation else nullcontext():
            try:
                await super().__call__(scope, receive, send)
            except ClientDisconnect as error:
                log.info("A caller took nothing of its stream for %g s.", _PATIENCE_SECONDS)
                if self.operation is not None:
                    self.operation.failed(error, CANCELLED)
            except SandboxError as error:
                # The status is sent; that the body has no end tells the caller.
                log.warning("A stream broke off: %s", error)
                if self.operation is not None:
                    self.operation.failed(error)
            finally:
                await self._opened.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send it in a task that a stop may cut, to a caller that takes it."""
        quiet = _Quiet(self._ping)

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(_PATIENCE_SECONDS), quiet.broken(message):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        with self._running.known():
            async with quiet.watched(send_in_time):
                await super().stream_response(send_in_time)
