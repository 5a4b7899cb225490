"""Requests that never come to a verb: answered with an error, and logged like the others."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers

from oneseek_sandbox.http.answering import error_response
from oneseek_sandbox.log_lines import called_by, log_facts
from oneseek_sandbox.tracing import start_trace

if TYPE_CHECKING:
    from starlette.responses import Response
    from starlette.types import Scope

__all__ = ["peer_of", "refuse"]

log = logging.getLogger(__name__)

_LONGEST_PATH: Final = 200


def refuse(error: Exception, scope: Scope) -> Response:
    """Return the answer to a request, under the caller's trace."""
    called_by("")
    start_trace(Headers(scope=scope).get("traceparent"))
    response = error_response(error)
    facts = {
        "method": scope["method"],
        "path": scope["path"][:_LONGEST_PATH],
        "status": response.status_code,
        "error": getattr(error, "code", "internal"),
        "peer": peer_of(scope),
    }
    harmless = response.status_code in {404, 405}
    log_facts(log, logging.INFO if harmless else logging.WARNING, "Refused a request", facts)
    return response


def peer_of(scope: Scope) -> str:
    """Return the address that a request came from; empty where there is none."""
    return str(scope["client"][0]) if scope.get("client") else ""
