"""The verbs: what each reads from a request, calls, and answers.

The functions in `functions/` and the gateway both serve these; a verb is the same wherever it runs.
"""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final, TypeAlias, TypeVar

from pydantic import BaseModel
from starlette.responses import Response

from oneseek_sandbox import models
from oneseek_sandbox.errors import InvalidRequestError, MethodNotAllowedError
from oneseek_sandbox.http.answering import event, event_stream
from oneseek_sandbox.http.cloud_events import is_cloud_event, read_cloud_event
from oneseek_sandbox.http.disconnect import unless_disconnected, until_read
from oneseek_sandbox.http.process_verbs import PROCESS_VERBS
from oneseek_sandbox.http.reading import (
    SEND_PARTS,
    accepts,
    bounded_stream,
    media_type,
    parse_model,
    read_body,
    read_labels,
    read_query,
)
from oneseek_sandbox.http.streams import StreamedResponse, delivered
from oneseek_sandbox.output import OutputDecoder
from oneseek_sandbox.workers.execution import Gap, Piece, Started

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Iterator,
    )

    from oneseek_sandbox.http.call import Call
    from oneseek_sandbox.output import StreamName
    from oneseek_sandbox.workers.replies import ReadMeta

__all__ = [
    "CONTROL_VERBS",
    "FUNCTIONS",
    "VERBS",
    "acquire",
    "check_method",
    "cleanup_idle",
    "execute",
    "ls",
    "read_file",
    "release",
    "replace",
    "write_file",
]

ModelT = TypeVar("ModelT", bound=BaseModel)
T = TypeVar("T")

_Item: TypeAlias = Started | Piece | Gap | models.ExecuteAnswer
_BINARY: Final = "application/octet-stream"


async def acquire(call: Call) -> Response:
    """Answer an acquire, or, for a GET, the list of live sandboxes."""
    if call.request.method == "GET":
        wanted = read_labels(call.request)
        listed = await call.provisioner.list_sandboxes(call.caller, label=wanted.label)
        return call.answered(listed)
    request = await call.read(models.AcquireRequest)
    acquiring = call.provisioner.acquiring(request, call.caller)
    return await delivered(call.request, acquiring, call.answered)


async def execute(call: Call) -> Response:
    """Answer an execute: when the command has ended, or as a stream (`text/event-stream`)."""
    request = await call.read(models.ExecuteRequest)
    if request.background:
        starting = call.provisioner.processes.start(request, call.caller)
        return call.answered(await call.unless_gone(starting))
    if request.cancel is not None:
        return call.answered(await call.provisioner.cancel(request, call.caller))
    if accepts(call.request, "text/event-stream"):
        return await _execute_stream(call, request)
    async with AsyncExitStack() as opening:
        running = call.provisioner.execute(request, call.caller)
        await opening.enter_async_context(aclosing(running))
        answer = await call.unless_gone(anext(running))
        assert isinstance(answer, models.ExecuteAnswer)  # noqa: S101 - all there is but in a stream
        # The room for its output is free when it is sent.
        return call.answered(answer, opening)


async def _execute_stream(call: Call, request: models.ExecuteRequest) -> Response:
    async with AsyncExitStack() as opening:
        running = call.provisioner.execute(request, call.caller, stream=True)
        await opening.enter_async_context(aclosing(running))
        # What is refused before it starts is refused with a status, as every call is.
        started = await call.unless_gone(anext(running))
        assert isinstance(started, Started)  # noqa: S101 - the first of a stream
        printed = _execute_events(call, running, OutputDecoder(request.encoding))
        events = call.told("execute", printed)
        await opening.enter_async_context(aclosing(events))
        return event_stream(events, opening.pop_all(), call.running)


async def _execute_events(
    call: Call, running: AsyncIterator[_Item], decoder: OutputDecoder
) -> AsyncGenerator[bytes, None]:
    """Yield a command's output, and how it ended."""
    async for item in running:
        if isinstance(item, models.ExecuteAnswer):
            call.operation.answered(item)
        for each in _events_of(item, decoder):
            yield each


def _events_of(item: _Item, decoder: OutputDecoder) -> Iterator[bytes]:
    match item:
        case Piece(stream, data):
            yield from _texts(decoder.feed(stream, data))
        case Gap(stream, count):
            yield from _texts(decoder.break_off(stream))
            yield event("gap", json.dumps({"stream": stream, "bytes": count}))
        case models.ExecuteAnswer():
            yield from _texts(decoder.end())
            yield event("exit", item.model_dump_json())


def _texts(decoded: list[tuple[StreamName, str]]) -> Iterator[bytes]:
    for name, text in decoded:
        yield event(name, json.dumps({"text": text}))


async def ls(call: Call) -> Response:
    """Answer an ls."""
    request = await call.read(models.LsRequest)
    return call.answered(await call.unless_gone(call.provisioner.ls(request, call.caller)))


async def read_file(call: Call) -> Response:
    """Answer a read_file: as JSON, or as raw bytes (`application/octet-stream`)."""
    request = await call.read(models.ReadFileRequest)
    if not accepts(call.request, _BINARY):
        work = call.provisioner.read_file(request, call.caller)
        return call.answered(await call.unless_gone(work))
    async with AsyncExitStack() as opening:
        opened = call.provisioner.open_file(request, call.caller)
        file = await call.unless_gone(opening.enter_async_context(opened))
        call.operation.answered(file.meta)
        return StreamedResponse(
            file.chunks,
            opening.pop_all(),
            call.running,
            headers=_file_headers(file.meta),
            media_type=_BINARY,
        )


def _file_headers(meta: ReadMeta) -> dict[str, str]:
    known = {"x-sandbox-sha256": meta.sha256, "x-sandbox-total-lines": meta.total_lines}
    return {
        "x-sandbox-size": str(meta.size),
        **{name: str(value) for name, value in known.items() if value is not None},
        "x-sandbox-truncated": "true" if meta.truncated else "false",
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
    }


async def write_file(call: Call) -> Response:
    """Answer a write_file: from JSON, or from raw bytes with the other fields in the query."""
    if media_type(call.request) != _BINARY:
        request = await call.read(models.WriteFileRequest)
        work = call.provisioner.write_file(request, call.caller)
        return call.answered(await call.unless_gone(work))
    if given := {"content", "encoding"} & call.request.query_params.keys():
        raise InvalidRequestError(
            f"{min(given)}: not in the query; the body of an octet-stream request is the content."
        )
    target = read_query(call.request, models.WriteFileTarget)
    call.operation.note(target)
    read = asyncio.Event()
    body = bounded_stream(call.request, call.settings.max_file_bytes, advice=SEND_PARTS)
    work = call.provisioner.write_stream(target, call.caller, until_read(body, read))
    return call.answered(await unless_disconnected(call.request, work, body_read=read))


async def replace(call: Call) -> Response:
    """Answer a replace."""
    request = await call.read(models.ReplaceRequest)
    return call.answered(await call.unless_gone(call.provisioner.replace(request, call.caller)))


async def release(call: Call) -> Response:
    """Answer a release."""
    request = await call.read(models.ReleaseRequest)
    return call.answered(await call.provisioner.release(request, call.caller))


async def cleanup_idle(call: Call) -> Response:
    """Answer a cleanup_idle: a plain POST with JSON, a CloudEvent with 204 and no body.

    A broker takes any other body for a failed delivery.
    """
    body = await read_body(call.request, call.settings.max_request_bytes)
    request = models.CleanupIdleRequest()
    is_event = is_cloud_event(call.request)
    if is_event:
        read_cloud_event(call.request, body)
    elif body.strip():
        request = parse_model(call.request, body, models.CleanupIdleRequest)
    response = call.answered(await call.provisioner.cleanup_idle(request, call.caller))
    return Response(status_code=204) if is_event else response


VERBS: Final[dict[str, Callable[[Call], Awaitable[Response]]]] = {
    "acquire": acquire,
    "execute": execute,
    "ls": ls,
    "read_file": read_file,
    "write_file": write_file,
    "replace": replace,
    "release": release,
    "cleanup_idle": cleanup_idle,
    **PROCESS_VERBS,
}
FUNCTIONS: Final = {verb: "execute" if verb in PROCESS_VERBS else verb for verb in VERBS}
"""Which function serves a verb."""
CONTROL_VERBS: Final = frozenset({"acquire", "release", "cleanup_idle"})


def check_method(verb: str, method: str) -> None:
    """Refuse methods that a verb does not have.

    Raises:
        MethodNotAllowedError: Only POST, and for acquire's list GET.
    """
    if method != "POST" and not (verb == "acquire" and method == "GET"):
        raise MethodNotAllowedError(f"{verb} is called with POST, not {method}.")
