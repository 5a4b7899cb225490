"""One verb as a function of its own, served by functions-framework."""

from __future__ import annotations

import logging
import signal
import threading
from functools import cache
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import ConfigurationError, UnknownVerbError
from oneseek_sandbox.http.answering import json_response
from oneseek_sandbox.http.refusing import refuse
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.http.verbs import CONTROL_VERBS, FUNCTIONS
from oneseek_sandbox.log_lines import configure_logging
from oneseek_sandbox.settings import Settings, unknown_settings
from oneseek_sandbox.telemetry.providers import set_up

if TYPE_CHECKING:
    from types import FrameType

    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["serve_verb"]

log = logging.getLogger(__name__)


async def serve_verb(verb: str, request: Request) -> Response:
    """Answer a request to the function of `verb`: another verb that it serves, by the path's end.

    What is no verb's name counts for nothing: a function may be called on any path.
    """
    _set_up_telemetry(verb)
    if request.url.path == "/healthz":
        return json_response({"status": "ok", "service": "oneseek-sandbox", "verb": verb})
    try:
        service = _service(verb)
    except ConfigurationError as error:
        configure_logging("info")
        return refuse(error, request.scope)
    if request.url.path == "/readyz":
        return await service.readiness()
    if request.url.path == "/metrics" and request.method == "GET":
        return await service.metrics(request)
    named = request.url.path.rpartition("/")[2]
    if named not in FUNCTIONS:
        return await service.answer(verb, request)
    if FUNCTIONS[named] != verb:
        mine = ", ".join(name for name, function in FUNCTIONS.items() if function == verb)
        other = UnknownVerbError(f"This function does not serve {named!r}, but: {mine}.")
        return refuse(other, request.scope)
    return await service.answer(named, request)


@cache
def _set_up_telemetry(verb: str) -> None:
    """Do it at the first request, the one that asks whether this function is ready."""
    set_up(f"oneseek-sandbox-{verb}")
    _end_in_order()


def _end_in_order() -> None:
    """Let the process end as processes do after SIGTERM: what exports spans and writes the log waits for that.

    When uvicorn has answered the last call it raises the signal once more, for a parent to see;
    unhandled, that would kill the process with its last second of spans.
    """
    stop = signal.getsignal(signal.SIGTERM)
    if not callable(stop) or threading.current_thread() is not threading.main_thread():
        return

    def stop_once(number: int, frame: FrameType | None) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        stop(number, frame)

    signal.signal(signal.SIGTERM, stop_once)


@cache
def _service(verb: str) -> Service:
    """Make the process's service at the first call.

    Raises:
        ConfigurationError: No key is set and nothing says that none is wanted. A function is
            reached through a network, so there is no loopback to be lenient for.
    """
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    for unknown in unknown_settings():
        # The ConfigMap may be newer than this function's image.
        log.warning("%s It is ignored.", unknown)
    service = Service(settings, control=verb in CONTROL_VERBS)
    if not service.keys and not settings.allow_no_key:
        raise ConfigurationError(
            "No key is set: set PROVISIONER_API_KEY or PROVISIONER_API_KEYS_FILE, or "
            "PROVISIONER_ALLOW_NO_KEY=true where only trusted callers can reach this function."
        )
    return service
