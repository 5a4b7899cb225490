"""The gateway as an ASGI application."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.responses import HTMLResponse
from starlette.routing import Route

from oneseek_sandbox import __version__
from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control.cleanup import clean_up_every
from oneseek_sandbox.errors import MethodNotAllowedError, SandboxError, UnknownVerbError
from oneseek_sandbox.gateway.guard import Guard
from oneseek_sandbox.gateway.memory import give_back_free_memory
from oneseek_sandbox.gateway.openapi import describe
from oneseek_sandbox.gateway.page import docs_page
from oneseek_sandbox.http.answering import json_response
from oneseek_sandbox.http.refusing import refuse
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.http.verbs import VERBS
from oneseek_sandbox.lasting import cut
from oneseek_sandbox.log_lines import called_by
from oneseek_sandbox.models import CleanupIdleRequest
from oneseek_sandbox.telemetry.operations import Operation, observed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import ASGIApp, Receive, Scope, Send

    from oneseek_sandbox.models import CleanupIdleAnswer
    from oneseek_sandbox.settings import Settings

__all__ = ["create_app"]


def create_app(settings: Settings, service: Service | None = None) -> Starlette:
    """Return the application; its lifespan opens the provisioner and runs the cleanup timer."""
    service = service or Service(settings, control=True)

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        await service.provisioner()
        cleaning = asyncio.create_task(
            clean_up_every(
                service.settings.cleanup_interval_seconds, functools.partial(_clean_up, service)
            )
        )
        try:
            yield
        finally:
            await cut(cleaning)
            await service.close()

    async def verb(request: Request) -> Response:
        name = request.path_params["verb"]
        if name not in VERBS:
            unknown = UnknownVerbError(f"There is no verb {name!r}; there are: {', '.join(VERBS)}.")
            return refuse(unknown, request.scope)
        return await service.answer(name, request)

    async def sandboxes(request: Request) -> Response:
        return await service.answer("acquire", request)

    async def readyz(_: Request) -> Response:
        return await service.readiness()

    async def metrics(request: Request) -> Response:
        return await service.metrics(request)

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    app = Starlette(
        routes=[
            Route("/v1/sandbox/{verb}", verb, methods=methods),
            Route("/v1/sandbox", sandboxes, methods=["GET"]),
            Route("/healthz", _healthz),
            Route("/readyz", readyz, methods=["GET"]),
            Route("/metrics", metrics, methods=["GET"]),
            Route("/openapi.json", _openapi),
            Route("/docs", _docs),
        ],
        lifespan=lifespan,
        exception_handlers={404: _not_found, 405: _wrong_method},
    )
    app.add_middleware(_Guarded, guard=Guard(settings, any_host=bool(service.keys)))
    app.router.redirect_slashes = False
    app.state.service = service
    return app


class _Guarded:
    """Lets the guard look at every request before anything else does."""

    def __init__(self, app: ASGIApp, guard: Guard) -> None:
        self._app = app
        self._guard = guard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                self._guard.check(Headers(scope=scope))
            except SandboxError as error:
                await refuse(error, scope)(scope, receive, send)
                return
        await self._app(scope, receive, send)


async def _healthz(_: Request) -> Response:
    return json_response({"status": "ok", "service": "oneseek-sandbox", "version": __version__})


async def _openapi(_: Request) -> Response:
    return json_response(describe())


async def _docs(_: Request) -> Response:
    return HTMLResponse(docs_page())


async def _not_found(request: Request, _: Exception) -> Response:
    nothing = UnknownVerbError(
        f"Nothing is at {request.url.path!r}; call POST /v1/sandbox/VERB, or open /docs."
    )
    return refuse(nothing, request.scope)


async def _wrong_method(request: Request, error: Exception) -> Response:
    wrong = MethodNotAllowedError(f"{request.url.path!r} does not take {request.method}.")
    response = refuse(wrong, request.scope)
    response.headers.update(getattr(error, "headers", None) or {})
    return response


async def _clean_up(service: Service) -> CleanupIdleAnswer:
    """Do one round of the timer, seen as a call of nobody."""
    operation = Operation("function", "cleanup_idle", "internal", counted=True, remote="")
    called_by("timer")
    provisioner = await service.provisioner()
    work = provisioner.cleanup_idle(CleanupIdleRequest(), Caller("timer"))
    done = await observed(operation, work)
    await asyncio.to_thread(give_back_free_memory)
    return done
