"""Serves any `Sandboxes` as the eight verbs over HTTP, so that the verbs' contract runs on it."""

from __future__ import annotations

import asyncio
import base64
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, contextmanager
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import uvicorn

from oneseek_sandbox.client.streams import Gap, Output
from oneseek_sandbox.gateway.app import create_app
from oneseek_sandbox.http.service import Service
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.workers import execution
from oneseek_sandbox.workers.client import OpenFile
from oneseek_sandbox.workers.replies import ReadMeta

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterator, Mapping

    from pydantic import BaseModel

    from oneseek_sandbox import models
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.control.provisioner import Provisioner

    _Event: TypeAlias = execution.Started | execution.Piece | execution.Gap | models.ExecuteAnswer

__all__ = ["relayed"]


@contextmanager
def relayed(sandboxes: Sandboxes, key: str) -> Iterator[str]:
    """Open `sandboxes` in a thread, serve them on loopback, and give the base URL."""
    settings = Settings.from_environment({"PROVISIONER_API_KEY": key})
    provisioner = cast("Provisioner", _Relay(sandboxes))
    service = Service(settings, control=True, provisioner=provisioner)
    config = uvicorn.Config(create_app(settings, service), log_config=None, lifespan="on")
    server = uvicorn.Server(config)

    async def serve(listener: socket.socket) -> None:
        async with sandboxes:
            await server.serve([listener])

    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(1) as thread:
        serving = thread.submit(lambda: asyncio.run(serve(listener)))
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            serving.result()


class _Relay:
    """The provisioner's methods, each done by the sandboxes."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes
        self.processes = _RelayedProcesses(sandboxes)

    def __getattr__(self, verb: str) -> Any:  # noqa: ANN401 - one of the verbs
        call = getattr(self._sandboxes, verb)

        async def relay(request: BaseModel, caller: object) -> Any:  # noqa: ANN401
            del caller
            return await call(**_fields(request))

        return relay

    @asynccontextmanager
    async def acquiring(
        self, request: models.AcquireRequest, caller: object
    ) -> AsyncIterator[models.AcquireAnswer]:
        del caller
        yield await self._sandboxes.acquire(**_fields(request))

    async def list_sandboxes(
        self, caller: object, *, label: Mapping[str, str]
    ) -> models.ListSandboxesAnswer:
        del caller
        return await self._sandboxes.list_sandboxes(label=label)

    async def execute(
        self, request: models.ExecuteRequest, caller: object, *, stream: bool = False
    ) -> AsyncGenerator[_Event, None]:
        del caller
        if not stream:
            yield await self._sandboxes.execute(**_fields(request))
            return
        started = False
        async with aclosing(self._sandboxes.stream(**_fields(request))) as events:
            async for event in events:
                if not started:
                    yield execution.Started()
                    started = True
                if isinstance(event, Gap):
                    yield execution.Gap(event.stream, event.bytes)
                elif isinstance(event, Output):
                    is_text = request.encoding == "utf-8"
                    data = event.text.encode() if is_text else base64.b64decode(event.text)
                    yield execution.Piece(event.stream, data)
                else:
                    yield event

    async def cancel(self, request: models.ExecuteRequest, caller: object) -> models.CancelAnswer:
        del caller
        from oneseek_sandbox.models import CancelAnswer

        fields = _fields(request)
        return CancelAnswer(cancelled=await self._sandboxes.cancel(fields.pop("cancel"), **fields))

    async def write_stream(
        self, target: models.WriteFileTarget, caller: object, body: AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        del caller
        return await self._sandboxes.upload(content=body, **_fields(target))

    @asynccontextmanager
    async def open_file(
        self, request: models.ReadFileRequest, caller: object
    ) -> AsyncIterator[OpenFile]:
        del caller
        async with self._sandboxes.download(**_fields(request)) as file:
            meta = ReadMeta(
                size=file.size,
                sha256=file.sha256,
                total_lines=file.total_lines,
                truncated=file.truncated,
            )
            yield OpenFile(meta, file.chunks)


class _RelayedProcesses:
    """The verbs of processes, each done by the sandboxes."""

    def __init__(self, sandboxes: Sandboxes) -> None:
        self._sandboxes = sandboxes

    def __getattr__(self, verb: str) -> Any:  # noqa: ANN401 - one of the verbs
        call = getattr(self._sandboxes, verb)

        async def relay(request: BaseModel, caller: object) -> Any:  # noqa: ANN401
            del caller
            fields = _fields(request)
            fields.pop("background", None)
            return await call(**fields)

        return relay

    async def attach(self, request: models.AttachRequest, caller: object) -> models.AttachAnswer:
        del caller
        return await self._sandboxes.output(**_fields(request))

    async def give(
        self, target: models.InputTarget, caller: object, data: bytes
    ) -> models.InputAnswer:
        del caller
        text = base64.b64encode(data).decode()
        return await self._sandboxes.input(data=text, encoding="base64", **_fields(target))

    @asynccontextmanager
    async def attached(
        self, request: models.AttachRequest, caller: object
    ) -> AsyncIterator[_RelayedReader]:
        del caller
        yield _RelayedReader(self._sandboxes, _fields(request))


class _RelayedReader:
    def __init__(self, sandboxes: Sandboxes, fields: dict[str, Any]) -> None:
        self._sandboxes = sandboxes
        self._fields = fields
        self.positions: list[int] = []

    async def read(self, seconds: float) -> models.AttachAnswer:
        answer = await self._sandboxes.output(**self._fields | {"wait_seconds": seconds})
        self._fields["offset"] = answer.next_offset
        sizes = [
            len(event.text.encode()) if event.type != "gap" else event.end - event.start
            for event in answer.events
        ]
        begin = answer.next_offset - sum(sizes)
        self.positions = [begin + end for end in accumulate(sizes)]
        return answer


def _fields(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(exclude_unset=True)
