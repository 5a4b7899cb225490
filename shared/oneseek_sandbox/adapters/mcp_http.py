"""The MCP server over streamable HTTP, with a key of its own and closed to web pages."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, Final

import uvicorn
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers

from oneseek_sandbox.adapters.mcp import mcp_server
from oneseek_sandbox.agent_tools import ToolsOfThreads
from oneseek_sandbox.auth import Keys
from oneseek_sandbox.client import connect
from oneseek_sandbox.errors import ConfigurationError, SandboxError
from oneseek_sandbox.gateway.guard import Guard
from oneseek_sandbox.gateway.serve import listen
from oneseek_sandbox.http.answering import error_response
from oneseek_sandbox.loopback import is_loopback
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.tracing import start_trace

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from mcp.server.lowlevel import Server
    from starlette.types import ASGIApp, Receive, Scope, Send

    from oneseek_sandbox.client import BackendSettings

__all__ = ["PATH", "mcp_app", "serve_http"]

PATH: Final = "/mcp"
_LARGEST_REQUEST: Final = 16_777_216
_STOP_SECONDS: Final = 10


def mcp_app(server: Server[Any], *, key: str, host: str = "127.0.0.1") -> ASGIApp:
    """Return the server as an ASGI application.

    Args:
        key: Clients send it as `Authorization: Bearer`; with an empty one anybody may call who
            reaches it and names it by a loopback address.
        host: The name it is called by, besides those of loopback.

    Raises:
        ConfigurationError: `key` is too short, or cannot be sent.
    """
    app = server.streamable_http_app(
        streamable_http_path=PATH,
        max_request_body_size=_LARGEST_REQUEST,
        # The guard is stricter: it refuses every other origin, also one of this machine.
        transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
    )
    return _Guarded(app, key=key, host=host)


async def serve_http(
    settings: BackendSettings,
    *,
    key: str,
    host: str,
    port: int,
    thread_id: str | None = None,
    scope: str | None = None,
    release: bool = False,
    offered: Iterable[str] | None = None,
    yield_seconds: float | None = None,
    on_ready: Callable[[str], None] | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT.

    Args:
        thread_id: The thread of all clients; left out, each session or header has its own.
        release: End the sandboxes that were used at the end.
        offered: Names of the tools to offer; all by default.
        yield_seconds: As of `SandboxTools`.
        on_ready: Called with the URL once calls are answered.

    Raises:
        ConfigurationError: No key where one is needed, or a wrong one.
        OSError: The address cannot be bound.
    """
    if not key and not is_loopback(host):
        raise ConfigurationError(
            f"Without a key this MCP server listens on loopback only, not on {host}. Set "
            "ONESEEK_SANDBOX_MCP_KEY."
        )
    async with connect(settings) as sandboxes:
        tools = ToolsOfThreads(
            sandboxes, settings, tools=offered, images=True, yield_seconds=yield_seconds
        )
        app = mcp_app(mcp_server(tools, thread_id=thread_id, scope=scope), key=key, host=host)
        with listen(host, port) as listener:
            server = _Server(app)
            if on_ready is not None:
                url = _url(host, listener.getsockname()[1])
                server.on_started = functools.partial(on_ready, url)
            await server.serve([listener])
        await tools.close()
        if release:
            await tools.release_all()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}{PATH}" if ":" in host else f"http://{host}:{port}{PATH}"


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it has started."""

    on_started: Callable[[], None] | None = None

    def __init__(self, app: ASGIApp) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )
        )

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and self.on_started is not None:
            self.on_started()


class _Guarded:
    """Lets in who has the key, and no web page."""

    def __init__(self, app: ASGIApp, *, key: str, host: str) -> None:
        self._app = app
        settings = Settings.from_environment({"PROVISIONER_API_KEY": key, "PROVISIONER_HOST": host})
        try:
            self._keys = Keys.from_settings(settings)
        except ConfigurationError as error:
            named = error.message.replace("API_KEY", "ONESEEK_SANDBOX_MCP_KEY")
            raise ConfigurationError(named) from None
        self._guard = Guard(settings, any_host=bool(key))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers = Headers(scope=scope)
            start_trace(headers.get("traceparent"))
            try:
                self._guard.check(headers)
                self._keys.caller(headers.get("authorization"))
            except SandboxError as error:
                await error_response(error)(scope, receive, send)
                return
        await self._app(scope, receive, send)
