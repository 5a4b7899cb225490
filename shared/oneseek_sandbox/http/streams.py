"""Streams as answers: begun before the status is sent, closed whatever becomes of the caller."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from starlette.responses import StreamingResponse

from oneseek_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from starlette.types import Receive, Scope, Send

    from oneseek_sandbox.http.running import RunningCalls
    from oneseek_sandbox.telemetry.operations import Operation

__all__ = ["StreamedResponse"]

log = logging.getLogger(__name__)


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
            except SandboxError as error:
                # The status is sent; that the body has no end tells the caller.
                log.warning("A stream broke off: %s", error)
                if self.operation is not None:
                    self.operation.failed(error)
            finally:
                await self._content.aclose()

    async def stream_response(self, send: Send) -> None:
        """Send it in a task that a stop may cut."""
        with self._running.known():
            await super().stream_response(send)
