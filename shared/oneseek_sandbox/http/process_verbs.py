"""The verbs of managed processes over HTTP; the function `execute` serves them."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, aclosing
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import models
from oneseek_sandbox.errors import InvalidRequestError
from oneseek_sandbox.http.answering import event, event_stream
from oneseek_sandbox.http.reading import accepts, media_type, read_body, read_query

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable

    from starlette.responses import Response

    from oneseek_sandbox.control.attaching import Reader
    from oneseek_sandbox.http.call import Call

__all__ = ["PROCESS_VERBS", "attach", "input_", "processes", "signal"]

_STREAM_SECONDS: Final = 60.0
_BINARY: Final = "application/octet-stream"


async def processes(call: Call) -> Response:
    """Answer a processes."""
    request = await call.read(models.ProcessesRequest)
    listing = call.provisioner.processes.processes(request, call.caller)
    return call.answered(await call.unless_gone(listing))


async def attach(call: Call) -> Response:
    """Answer an attach: as JSON, or as a stream (`text/event-stream`)."""
    request = await call.read(models.AttachRequest)
    if not accepts(call.request, "text/event-stream"):
        attaching = call.provisioner.processes.attach(request, call.caller)
        return call.answered(await call.unless_gone(attaching))
    if (last := call.request.headers.get("last-event-id")) is not None:
        if not (last.isascii() and last.isdigit() and len(last) <= 18):
            raise InvalidRequestError("Last-Event-ID: it is the id of an event, which is a number.")
        request = request.model_copy(update={"offset": int(last)})
    if request.wait_seconds is None:
        request = request.model_copy(update={"wait_seconds": _STREAM_SECONDS})
    async with AsyncExitStack() as opening:
        attached = call.provisioner.processes.attached(request, call.caller)
        reader = await call.unless_gone(opening.enter_async_context(attached))
        # What is refused is refused with a status.
        first = await call.unless_gone(reader.read(0))
        read = _attached_events(call, reader, first, request.wait_seconds or 0)
        events = call.told("attach", read)
        await opening.enter_async_context(aclosing(events))
        return event_stream(events, opening.pop_all(), call.running)


async def _attached_events(
    call: Call, reader: Reader, answer: models.AttachAnswer, seconds: float
) -> AsyncGenerator[bytes, None]:
    """Yield output as it comes, until the process has ended or the time is over."""
    clock = asyncio.get_running_loop().time
    deadline = clock() + seconds
    while True:
        after = answer.next_offset
        for item, position in zip(answer.events, reader.positions, strict=True):
            data = item.model_dump_json(by_alias=True, exclude={"type"})
            yield event(item.type, data, position)
        if answer.is_over:
            process = answer.process.model_dump_json()
            call.operation.answered(answer)
            yield event("exit", f'{{"process": {process}}}', after)
            return
        if clock() >= deadline:
            call.operation.answered(answer)
            yield event("again", json.dumps({"next_offset": after}), after)
            return
        answer = await reader.read(deadline - clock())


async def input_(call: Call) -> Response:
    """Answer an input: from JSON, or from raw bytes with the other fields in the query."""
    verbs = call.provisioner.processes
    if media_type(call.request) != _BINARY:
        request = await call.read(models.InputRequest)
        return call.answered(await call.unless_gone(verbs.input(request, call.caller)))
    target = read_query(call.request, models.InputTarget)
    call.operation.note(target)
    data = await read_body(call.request, call.settings.max_request_bytes)
    return call.answered(await call.unless_gone(verbs.give(target, call.caller, data)))


async def signal(call: Call) -> Response:
    """Answer a signal."""
    request = await call.read(models.SignalRequest)
    return call.answered(await call.provisioner.processes.signal(request, call.caller))


PROCESS_VERBS: Final[dict[str, Callable[[Call], Awaitable[Response]]]] = {
    "processes": processes,
    "attach": attach,
    "input": input_,
    "signal": signal,
}
