"""Answers and errors as HTTP responses: one JSON shape, one table of headers."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from starlette.responses import Response

from oneseek_sandbox.errors import ConfigurationError, InternalError, SandboxError
from oneseek_sandbox.http.streams import StreamedResponse
from oneseek_sandbox.tracing import current_trace_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from contextlib import AsyncExitStack

    from pydantic import BaseModel

    from oneseek_sandbox.http.running import RunningCalls

__all__ = [
    "HEADERS",
    "as_error",
    "error_body",
    "error_response",
    "event",
    "event_stream",
    "json_answer",
    "json_pieces",
    "json_response",
]

log = logging.getLogger(__name__)

_PIECE_CHARACTERS: Final = 128 * 1024

HEADERS: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}


def json_response(answer: BaseModel | dict[str, Any], status: int = 200) -> Response:
    """Return an answer as JSON."""
    body = json.dumps(answer) if isinstance(answer, dict) else answer.model_dump_json(by_alias=True)
    return Response(body, status, headers=HEADERS, media_type="application/json")


def json_answer(answer: BaseModel, opened: AsyncExitStack, running: RunningCalls) -> Response:
    """Return an answer as JSON, with a long text of it in pieces.

    Args:
        opened: What is taken from here, and held until it is sent, if it is large.
    """
    if next(_long_texts(answer), None):
        return StreamedResponse(
            _sent(answer), opened.pop_all(), running, headers=HEADERS, media_type="application/json"
        )
    return json_response(answer)


async def _sent(answer: BaseModel) -> AsyncIterator[bytes]:
    for piece in json_pieces(answer):
        yield piece


def json_pieces(answer: BaseModel) -> Iterator[bytes]:
    """Yield an answer's JSON, long texts last.

    What code inside prints may take six times as much in escapes; so it is never there as a whole.
    """
    long = dict(_long_texts(answer))
    yield answer.model_dump_json(by_alias=True, exclude=set(long)).encode()[:-1]
    for name, text in long.items():
        yield b',"%b":"' % name.encode()
        for start in range(0, len(text), _PIECE_CHARACTERS):
            yield to_json(text[start : start + _PIECE_CHARACTERS])[1:-1]
        yield b'"'
    yield b"}"


def _long_texts(answer: BaseModel) -> Iterator[tuple[str, str]]:
    for name, value in answer:
        if isinstance(value, str) and len(value) > _PIECE_CHARACTERS:
            yield name, value


def as_error(error: Exception) -> SandboxError:
    """Return the error to answer with; a fault of our own is logged, and named by its trace id."""
    if isinstance(error, ConfigurationError):
        log.error("%s", error)
        return ConfigurationError(
            "This server is misconfigured and is not serving requests. Its log says how to fix it, "
            f"under trace id {current_trace_id()}."
        )
    if isinstance(error, SandboxError):
        return error
    log.error("A call failed", exc_info=error)
    return InternalError(
        "Internal error; the operation may or may not have taken effect. The server's log has the details "
        f"under trace id {current_trace_id()}."
    )


def error_body(error: SandboxError) -> dict[str, Any]:
    """Return the error in the shape every caller gets."""
    body: dict[str, Any] = {
        "code": error.code,
        "message": error.message,
        "retryable": error.retryable,
        "trace_id": current_trace_id(),
    }
    if error.may_have_run is not None:
        body["may_have_run"] = error.may_have_run
    if error.details:
        body["details"] = error.details
    return {"error": body}


def error_response(error: Exception) -> Response:
    """Return an error as JSON, with the headers that go with its status."""
    known = as_error(error)
    response = json_response(error_body(known), known.status)
    if known.retry_after_seconds is not None:
        response.headers["retry-after"] = str(known.retry_after_seconds)
    if trace_id := current_trace_id():
        response.headers["x-trace-id"] = trace_id
    if known.status == 405:
        response.headers["allow"] = "POST"
    if known.status == 401:
        response.headers["www-authenticate"] = 'Bearer realm="oneseek-sandbox"'
    return response


def event(name: str, data: str, id_: int | None = None) -> bytes:
    """Return one server-sent event; `data` is JSON and so has no newline.

    Args:
        id_: Where a reader goes on that names this event as its last.
    """
    id_line = "" if id_ is None else f"id: {id_}\n"
    return f"event: {name}\n{id_line}data: {data}\n\n".encode()


def event_stream(
    events: AsyncIterator[bytes], opened: AsyncExitStack, running: RunningCalls
) -> Response:
    """Return server-sent events; proxies are asked not to hold them back."""
    return StreamedResponse(
        events,
        opened,
        running,
        ping=b": ping\n\n",
        headers={**HEADERS, "x-accel-buffering": "no"},
        media_type="text/event-stream",
    )
