"""One process's service: keys, settings and the provisioner, and the way of every call through it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from oneseek_sandbox.assembly import open_provisioner
from oneseek_sandbox.auth import Keys
from oneseek_sandbox.http.answering import error_response
from oneseek_sandbox.http.running import RunningCalls
from oneseek_sandbox.http.verbs import VERBS, Call, check_method
from oneseek_sandbox.tracing import start_trace

if TYPE_CHECKING:
    from starlette.requests import Request

    from oneseek_sandbox.provisioner import Provisioner
    from oneseek_sandbox.settings import Settings

__all__ = ["Service"]


class Service:
    """Answers calls of verbs.

    Args:
        control: Whether control verbs are among them.
        provisioner: An open one to take; left out, the settings' own is opened by the first call.

    Attributes:
        running: The calls under way.
    """

    def __init__(
        self, settings: Settings, *, control: bool, provisioner: Provisioner | None = None
    ) -> None:
        self.settings = settings
        self.keys = Keys.from_settings(settings)
        self.running = RunningCalls()
        self._control = control
        self._opening = asyncio.Lock()
        self._provisioner = provisioner

    async def provisioner(self) -> Provisioner:
        """Return the provisioner, opened by the first call: functions have no start hook."""
        if self._provisioner is None:
            async with self._opening:
                if self._provisioner is None:
                    self._provisioner = await open_provisioner(self.settings, control=self._control)
        return self._provisioner

    async def close(self) -> None:
        """Let go of everything; sandboxes stay."""
        if self._provisioner is not None:
            await self._provisioner.close()

    async def answer(self, verb: str, request: Request) -> Response:
        """Answer one call; every error becomes a response."""
        trace_id = start_trace(request.headers.get("traceparent"))
        try:
            check_method(verb, request.method)
            caller = self.keys.caller(request.headers.get("authorization"))
            with self.running.call(verb):
                call = Call(request, caller, await self.provisioner(), self.settings, self.running)
                response = await VERBS[verb](call)
        except ClientDisconnect:
            return Response(status_code=499)  # nobody is left to read it
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave as a bare 500
            response = error_response(error)
        response.headers["x-trace-id"] = trace_id
        return response
