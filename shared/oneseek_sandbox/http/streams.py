"""Streams as answers: begun before the status is sent, closed whatever becomes of the caller."""

from __future__ import annotations

import asyncio
import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, Final

from starlette.requests import ClientDisconnect
from starlette.responses import StreamingResponse

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.telemetry.spans import CANCELLED

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Message, Receive, Scope, Send

    from oneseek_sandbox.http.running import RunningCalls
    from oneseek_sandbox.telemetry.operations import Operation

__all__ = ["StreamedResponse"]

log = logging.getLogger(__name__)

PATIENCE_SECONDS: Final = 30.0
"""A caller that takes nothing for so long counts as gone, as it does for a worker."""


class StreamedResponse(StreamingResponse):
    """Sends a generator that has begun.

    A caller who leaves before the first byte never lets the generator run, so it is closed here:
    it holds a pin and a connection.

    Attributes:
        operation: The call that this answers; it ends with the stream.
    """

    operation: Operation | None = None

    def __init__(
        self,
        content: AsyncGenerator[bytes, None],
        running: RunningCalls,
        **options: Any,  # noqa: ANN401 - those of StreamingResponse
    ) -> None:
        super().__init__(content, **options)
        self._content = content
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it, and close the generator in any case."""
        with self.operation.ending() if self.operation else nullcontext():
            try:
                await super().__call__(scope, receive, send)
            except ClientDisconnect as error:
                log.info("A caller took nothing of its stream for %g s.", PATIENCE_SECONDS)
                if self.operation is not None:
                    self.operation.failed(error, CANCELLED)
            except SandboxError as error:
                # The status is sent; that the body has no end tells the caller.
                log.warning("A stream broke off: %s", error)
                if self.operation is not None:
                    self.operation.failed(error)
            finally:
                await self._content.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send it in a task that a stop may cut, to a caller that takes it."""

        async def send_in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(PATIENCE_SECONDS):
                    await send(message)
            except TimeoutError:
                raise ClientDisconnect from None

        with self._running.known():
            await super().stream_response(send_in_time)
