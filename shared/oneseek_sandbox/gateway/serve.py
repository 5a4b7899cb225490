"""Runs the gateway under uvicorn, from the checks before the start to the orderly stop."""

from __future__ import annotations

import asyncio
import functools
import logging
import signal
import socket
from typing import TYPE_CHECKING, Any, Final

import uvicorn

from oneseek_sandbox.auth import Keys
from oneseek_sandbox.control.assembly import put_servers_first
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.gateway.app import create_app
from oneseek_sandbox.gateway.deadline import StopDeadline
from oneseek_sandbox.gateway.memory import allocate_in_one_arena
from oneseek_sandbox.log_lines import configure_logging
from oneseek_sandbox.loopback import is_loopback
from oneseek_sandbox.telemetry.providers import set_up

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.settings import Settings

__all__ = ["listen", "serve"]

log = logging.getLogger(__name__)

_LAST_WORDS_SECONDS: Final = 5
"""How long the callers of cut calls have to read what became of them."""
_CLOSE_SECONDS: Final = 25
"""How long creations, releases and connections have after that."""
_THREAD_SECONDS: Final = 5
"""How long threads have when all is closed; the interpreter would wait for them without end."""


def serve(settings: Settings, on_ready: Callable[[str], None] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; running calls may end, for SHUTDOWN_GRACE_SECONDS at most.

    The process ends 30 s after that at the latest, with status 1 and a log line that names what
    hangs.

    Args:
        on_ready: Called with the base URL once calls are answered.

    Returns:
        The process's exit code.

    Raises:
        ConfigurationError: No key where one is needed, or the sandboxes would not be isolated.
        OSError: The address cannot be bound.
    """
    allocate_in_one_arena()
    configure_logging(settings.log_level)
    set_up("oneseek-sandbox")
    if not Keys.from_settings(settings) and not is_loopback(settings.host):
        if not settings.allow_no_key:
            raise ConfigurationError(
                f"Without a key this server listens on loopback only, not on {settings.host}. Set "
                "PROVISIONER_API_KEY, or PROVISIONER_ALLOW_NO_KEY=true if everyone who can reach "
                "this address may run commands here."
            )
        log.warning("No key is set: anyone who can reach %s can run commands.", settings.host)
    listener = listen(settings.host, settings.port)
    try:
        # The loop that uvicorn itself would take: uvloop where it is installed.
        with asyncio.Runner(
            loop_factory=uvicorn.Config("", log_config=None).get_loop_factory()
        ) as runner:
            return runner.run(_serve(settings, listener, on_ready))
    finally:
        listener.close()


def listen(host: str, port: int) -> socket.socket:
    """Bind a TCP socket for uvicorn.

    Raises:
        OSError: The address cannot be bound.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio sets TCP_NODELAY only on sockets that name their protocol; without it every answer
    # waits 40 ms for an acknowledgement.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


async def _serve(
    settings: Settings, listener: socket.socket, on_ready: Callable[[str], None] | None
) -> int:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(_log_loop_error)
    app = create_app(settings)
    # Opened here and not by the lifespan alone, so that a refusal to start keeps its own words.
    await app.state.service.provisioner()
    await asyncio.to_thread(put_servers_first, settings)
    server = _Server(
        uvicorn.Config(
            app,
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=settings.shutdown_grace_seconds + _LAST_WORDS_SECONDS,
        )
    )
    server.on_overdue = app.state.service.running.cut
    server.grace_seconds = settings.shutdown_grace_seconds
    server.deadline = deadline = StopDeadline(loop)
    if on_ready is not None:
        host, port = listener.getsockname()[:2]
        base_url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        server.on_started = functools.partial(on_ready, base_url)
    # Uvicorn raises the signal that stopped it once more; an orderly stop is no failure.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    await server.serve(sockets=[listener])
    deadline.within(_THREAD_SECONDS)
    return 0 if server.started else 1


def _log_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    error = context.get("exception")
    # anyio gives a result to a read that was cancelled in the same turn; nobody waits for it.
    if not isinstance(error, asyncio.InvalidStateError):
        log.error("In the event loop: %s", context.get("message"), exc_info=error)


class _Server(uvicorn.Server):
    """Uvicorn's server, which says when it has started and when its stop takes too long."""

    on_started: Callable[[], None] | None = None
    on_overdue: Callable[[], None] | None = None
    grace_seconds: int = 0
    deadline: StopDeadline | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        if self.started and self.on_started is not None:
            self.on_started()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self.deadline is not None:
            self.deadline.within(self.grace_seconds + _LAST_WORDS_SECONDS + _CLOSE_SECONDS)
        if self.on_overdue is not None:
            loop = asyncio.get_running_loop()
            loop.call_later(self.grace_seconds, self.on_overdue)
        await super().shutdown(sockets=sockets)
