"""A room: one verb as a function of its own, served by functions-framework."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.http.answering import error_response, json_response
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.http.verbs import CONTROL_VERBS
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.telemetry.providers import set_up
from oneseek_sandbox.tracing import configure_logging, start_trace

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.responses import Response

__all__ = ["serve_verb"]


async def serve_verb(verb: str, request: Request) -> Response:
    """Answer a request to the function of `verb`, on whatever path it came."""
    _set_up_telemetry(verb)
    if request.url.path == "/healthz":
        return json_response({"status": "ok", "service": "oneseek-sandbox", "verb": verb})
    try:
        service = _service(verb)
    except ConfigurationError as error:
        configure_logging("info")
        start_trace(request.headers.get("traceparent"))
        return error_response(error)
    if request.url.path == "/readyz":
        return await service.readiness()
    if request.url.path == "/metrics" and request.method == "GET":
        return await service.metrics(request)
    return await service.answer(verb, request)


@cache
def _set_up_telemetry(verb: str) -> None:
    """Do it at the first request, the one that asks whether this function is ready."""
    set_up(f"oneseek-sandbox-{verb}")


@cache
def _service(verb: str) -> Service:
    """Make the process's service at the first call.

    Raises:
        ConfigurationError: No key is set and nothing says that none is wanted. A function is
            reached through a network, so there is no loopback to be lenient for.
    """
    settings = Settings.from_environment()
    configure_logging(settings.log_level)
    service = Service(settings, control=verb in CONTROL_VERBS)
    if not service.keys and not settings.allow_no_key:
        raise ConfigurationError(
            "No key is set: set PROVISIONER_API_KEY or PROVISIONER_API_KEYS_FILE, or "
            "PROVISIONER_ALLOW_NO_KEY=true where only trusted callers can reach this function."
        )
    return service
