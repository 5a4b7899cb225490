"""One process's service: keys, settings and the provisioner, and the way of every call through it."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from oneseek_sandbox.auth import Keys
from oneseek_sandbox.control.assembly import open_provisioner
from oneseek_sandbox.errors import RuntimeUnavailableError, SandboxError, UnavailableError
from oneseek_sandbox.http.answering import HEADERS, error_response, json_response
from oneseek_sandbox.http.call import Call
from oneseek_sandbox.http.refusing import peer_of, refuse
from oneseek_sandbox.http.running import RunningCalls
from oneseek_sandbox.http.streams import StreamedResponse
from oneseek_sandbox.http.verbs import VERBS, check_method
from oneseek_sandbox.log_lines import called_by
from oneseek_sandbox.telemetry.instruments import LIVE, metrics_text
from oneseek_sandbox.telemetry.operations import Operation
from oneseek_sandbox.telemetry.registry import CONTENT_TYPE
from oneseek_sandbox.telemetry.spans import CANCELLED
from oneseek_sandbox.tracing import current_trace_id

if TYPE_CHECKING:
    from starlette.requests import Request

    from oneseek_sandbox.control.provisioner import Provisioner
    from oneseek_sandbox.settings import Settings

__all__ = ["Service"]

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 2.0


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

    async def _opened(self) -> Provisioner:
        try:
            return await self.provisioner()
        except OSError as error:
            raise RuntimeUnavailableError.of_state(
                f"The state in {self.settings.home}", error
            ) from error

    async def close(self) -> None:
        """Let go of everything; sandboxes stay."""
        if self._provisioner is not None:
            await self._provisioner.close()

    async def answer(self, verb: str, request: Request) -> Response:
        """Answer one call; every error becomes a response."""
        traceparent = request.headers.get("traceparent", "")
        name = "list_sandboxes" if (verb, request.method) == ("acquire", "GET") else verb
        operation = Operation("function", name, "server", counted=True, remote=traceparent)
        operation.peer = peer_of(request.scope)
        called_by("")
        try:
            with operation.span.active():
                response = await self._answer(verb, request, operation)
        except ClientDisconnect as error:
            operation.failed(error, CANCELLED)
            response = Response(status_code=499)  # nobody is left to read it
        except Exception as error:  # noqa: BLE001 - the edge: nothing may leave as a bare 500
            operation.failed(error)
            response = error_response(error)
        except BaseException as error:
            operation.failed(error)
            operation.end()
            raise
        operation.status = response.status_code
        response.headers["x-trace-id"] = current_trace_id()
        if isinstance(response, StreamedResponse):
            response.operation = operation  # which ends with the stream
        else:
            operation.end()
        return response

    async def _answer(self, verb: str, request: Request, operation: Operation) -> Response:
        check_method(verb, request.method)
        caller = self.keys.caller(request.headers.get("authorization"))
        called_by(caller.name)
        with self.running.call(verb):
            provisioner = await self._opened()
            call = Call(request, caller, provisioner, self.settings, self.running, operation)
            return await VERBS[verb](call)

    async def metrics(self, request: Request) -> Response:
        """Answer with this process's figures, for operators."""
        try:
            self.keys.caller(request.headers.get("authorization")).require_operator("The metrics")
            await self._look_at_live()
        except Exception as error:  # noqa: BLE001 - the edge
            return refuse(error, request.scope)
        return Response(metrics_text(), headers={"content-type": CONTENT_TYPE, **HEADERS})

    async def readiness(self) -> Response:
        """Answer whether this process can do its work: the store takes writes, the disk has room.

        Needs no key, and names no address or path.
        """
        reasons: list[str] = []
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                if await (await self.provisioner()).shortages():
                    reasons.append("disk")
        except TimeoutError:
            reasons.append("store")
        except SandboxError as error:
            log.warning("Not ready: %s", error)
            reasons.append("store" if isinstance(error, UnavailableError) else "configuration")
        status = "not ready" if reasons else "ready"
        return json_response({"status": status, "lacks": reasons}, 503 if reasons else 200)

    async def _look_at_live(self) -> None:
        """Ask the store; when it does not answer soon, nothing is said of live sandboxes."""
        try:
            async with asyncio.timeout(_LOOK_SECONDS):
                await (await self.provisioner()).count_live()
        except (TimeoutError, UnavailableError):
            LIVE.forget()
