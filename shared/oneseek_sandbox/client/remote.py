"""Sandboxes behind a base URL: the functions or the gateway, over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import aclosing, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox import models
from oneseek_sandbox.client.answers import not_ours
from oneseek_sandbox.client.retries import Retries, is_repeatable
from oneseek_sandbox.client.sandboxes import AnswerT, Sandboxes
from oneseek_sandbox.client.server import Server
from oneseek_sandbox.client.streams import Download, Ended, Gap, Output
from oneseek_sandbox.client.uploads import LocalFile
from oneseek_sandbox.client.wire import Wire
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.telemetry.spans import current_span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable

    import httpx
    from pydantic import BaseModel

__all__ = ["RemoteSandboxes"]

_OK: Final = 200
_ANSWER_SECONDS: Final = 60.0
_RETRY_SECONDS: Final = 10.0


class RemoteSandboxes(Sandboxes):
    """The sandboxes of a provisioner at `url`.

    Args:
        url: Base URL, without `/v1`.
        api_key: Sent as `Authorization: Bearer`, to that server alone; empty sends none.
        retry_seconds: How long a call may take to be tried again, where that is safe.
        transport: Another way to the server than the network, for tests.

    Raises:
        ConfigurationError: `url` is no http or https URL, or no header can carry the key.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        retry_seconds: float = _RETRY_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._server = Server(url, api_key)
        self._wire = Wire(self._server, answer_seconds=_ANSWER_SECONDS, transport=transport)
        self._retry_seconds = retry_seconds

    async def open(self) -> None:
        """Nothing is sent: the first call finds the server, or says that it is not there."""

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._wire.close()

    async def _list(self, request: models.SandboxesQuery) -> models.ListSandboxesAnswer:
        sent = self._wire.listing(request.label, _trace())
        return self._read(models.ListSandboxesAnswer, await self._wire.answer(sent))

    async def _call(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        async def send() -> AnswerT:
            return self._read(answer, await self._wire.answer(self._request(verb, request)))

        return await self._tried(send, repeatable=is_repeatable(request))

    async def _stream(
        self, request: models.ExecuteRequest
    ) -> AsyncGenerator[Output | Gap | models.ExecuteAnswer, None]:
        sent = self._request("execute", request, accept="text/event-stream")
        async with aclosing(self._wire.events(sent)) as events:
            async for event in events:
                if isinstance(event, Ended):
                    yield self._checked(models.ExecuteAnswer.model_validate, event.answer)
                else:
                    yield event

    async def _upload(
        self, target: models.WriteFileTarget, content: bytes | LocalFile | AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        size = content.size if isinstance(content, LocalFile) else None

        async def send() -> models.WriteFileAnswer:
            # Of what is iterable both ways, httpx takes the one that is not async.
            body = aiter(content) if isinstance(content, LocalFile) else content
            written = await self._wire.upload(_fields(target), body, _trace(), size=size)
            return self._read(models.WriteFileAnswer, written)

        if size is None and not isinstance(content, bytes):
            return await send()  # a stream can be read only once
        return await self._tried(send, repeatable=is_repeatable(target))

    @asynccontextmanager
    async def _download(self, request: models.ReadFileRequest) -> AsyncIterator[Download]:
        sent = self._request("read_file", request, accept="application/octet-stream")
        async with self._wire.download(sent) as file:
            yield file

    def _request(
        self, verb: str, request: BaseModel, *, accept: str = "application/json"
    ) -> httpx.Request:
        return self._wire.verb(verb, _fields(request), _trace(), accept=accept)

    def _read(self, answer: type[AnswerT], content: bytes) -> AnswerT:
        return self._checked(answer.model_validate_json, content)

    def _checked(self, read: Callable[[Any], AnswerT], content: object) -> AnswerT:
        try:
            return read(content)
        except ValueError:
            raise not_ours(self._server, _OK) from None

    async def _tried(self, send: Callable[[], Awaitable[AnswerT]], *, repeatable: bool) -> AnswerT:
        clock = asyncio.get_running_loop().time
        retries = Retries(self._retry_seconds)
        may_have_run = False
        while True:
            begun = clock()
            try:
                return await send()
            except SandboxError as error:
                may_have_run = may_have_run or error.may_have_run is True
                pause = retries.pause(error, repeatable=repeatable, took=clock() - begun)
                if pause is None:
                    # Also when only an earlier try can have.
                    error.may_have_run = may_have_run or error.may_have_run
                    raise
            await asyncio.sleep(pause)


def _fields(request: BaseModel) -> dict[str, Any]:
    """Return what was set, as JSON has it."""
    return request.model_dump(exclude_unset=True, exclude_none=True)


def _trace() -> dict[str, str]:
    traceparent = current_span().traceparent
    return {"traceparent": traceparent} if traceparent else {}
