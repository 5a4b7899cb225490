"""One authenticated request on its way to the provisioner, and the way back of its answer."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import BaseModel

from oneseek_sandbox.http.answering import as_error, error_body, event, json_answer
from oneseek_sandbox.http.disconnect import unless_disconnected
from oneseek_sandbox.http.reading import read_model

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine

    from starlette.requests import Request
    from starlette.responses import Response

    from oneseek_sandbox.auth import Caller
    from oneseek_sandbox.control.provisioner import Provisioner
    from oneseek_sandbox.http.running import RunningCalls
    from oneseek_sandbox.settings import Settings
    from oneseek_sandbox.telemetry.operations import Operation

__all__ = ["Call"]

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")


class Call:
    """One authenticated request on its way to the provisioner."""

    def __init__(
        self,
        request: Request,
        caller: Caller,
        provisioner: Provisioner,
        settings: Settings,
        running: RunningCalls,
        operation: Operation,
    ) -> None:
        self.request = request
        self.caller = caller
        self.provisioner = provisioner
        self.settings = settings
        self.running = running
        self.operation = operation

    async def read(self, model: type[ModelT]) -> ModelT:
        """Read the JSON body."""
        request = await read_model(self.request, model, self.settings.max_request_bytes)
        self.operation.note(request)
        return request

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Await `work`, and cancel it when the caller leaves: nobody waits for what it would do."""
        return await unless_disconnected(self.request, work)

    def answered(self, answer: BaseModel, opened: AsyncExitStack | None = None) -> Response:
        """Return an answer as JSON.

        Args:
            opened: What is taken from here, and held until it is sent, if it is large.
        """
        self.operation.answered(answer)
        return json_answer(answer, opened or AsyncExitStack(), self.running)

    async def told(
        self, verb: str, events: AsyncGenerator[bytes, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield a verb's events, and how they ended: by an error as well, as the status is sent."""
        try:
            async with aclosing(events):
                async for each in events:
                    yield each
        except asyncio.CancelledError:
            if not self.running.are_cut:
                raise
            yield self._error_event(self.running.error(verb))
        except Exception as error:  # noqa: BLE001 - whatever it is, the stream tells
            yield self._error_event(error)

    def _error_event(self, error: Exception) -> bytes:
        self.operation.failed(error)
        return event("error", json.dumps(error_body(as_error(error))))
