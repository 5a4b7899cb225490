"""Sandboxes behind a base URL: the functions or the gateway, over HTTP."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import models
from oneseek_sandbox.client.failures import broken, not_ours, refusal
from oneseek_sandbox.client.retries import Retries, is_repeatable
from oneseek_sandbox.client.sandboxes import AnswerT, Download, Output, Sandboxes
from oneseek_sandbox.client.uploads import LocalFile
from oneseek_sandbox.client.wire import Wire, fields
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.server_events import server_events

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable

    import httpx
    from pydantic import BaseModel

    from oneseek_sandbox.output import StreamName

__all__ = ["RemoteSandboxes"]

_BINARY: Final = "application/octet-stream"
_ANSWER_SECONDS: Final = 60.0
# A new sandbox may wait for a cluster to pull its image.
_ACQUIRE_SECONDS: Final = 180.0
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
        self._wire = Wire(url, api_key, transport)
        self._retry_seconds = retry_seconds

    async def open(self) -> None:
        """Nothing is sent: the first call finds the server, or says that it is not there."""

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._wire.close()

    async def list_sandboxes(self) -> models.ListSandboxesAnswer:
        """Return the live sandboxes of all scopes."""
        request = self._wire.request("GET", "/v1/sandbox", seconds=_ANSWER_SECONDS, headers={})
        return await self._wire.answer(request, models.ListSandboxesAnswer)

    async def _call(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        async def send() -> AnswerT:
            return await self._wire.answer(self._post(verb, request), answer)

        return await self._tried(send, repeatable=is_repeatable(request))

    async def _stream(
        self, request: models.ExecuteRequest
    ) -> AsyncGenerator[Output | models.ExecuteAnswer, None]:
        ended = False
        sent = self._post("execute", request, accept="text/event-stream")
        async with self._wire.open(sent) as response:
            try:
                async for name, data in server_events(self._wire.chunks(response)):
                    if name == "error":
                        raise refusal(data["error"], response.headers)
                    if name == "exit":
                        ended = True
                        yield models.ExecuteAnswer.model_validate(data)
                    elif name in ("stdout", "stderr"):
                        yield Output(_stream_name(name), str(data["text"]))
                    elif name == "gap":
                        yield Output(_stream_name(data["stream"]), "", int(data["bytes"]))
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                raise not_ours(self._wire.url, response.status_code) from None
        if not ended:
            raise broken(self._wire.url, "ended its answer before it said how the command ended")

    async def _upload(
        self, target: models.WriteFileTarget, content: bytes | LocalFile | AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        query = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in fields(target).items()
        }

        size = content.size if isinstance(content, LocalFile) else None

        async def send() -> models.WriteFileAnswer:
            request = self._wire.request(
                "POST",
                "/v1/sandbox/write_file",
                seconds=_ANSWER_SECONDS,
                headers={"content-type": _BINARY}
                | ({} if size is None else {"content-length": str(size)}),
                params=query,
                content=aiter(content) if isinstance(content, LocalFile) else content,
            )
            return await self._wire.answer(request, models.WriteFileAnswer)

        if size is None and not isinstance(content, bytes):
            return await send()  # a stream can be read only once
        return await self._tried(send, repeatable=is_repeatable(target))

    @asynccontextmanager
    async def _download(self, request: models.ReadFileRequest) -> AsyncIterator[Download]:
        async with self._wire.open(self._post("read_file", request, accept=_BINARY)) as response:
            yield self._opened_file(response)

    def _opened_file(self, response: httpx.Response) -> Download:
        known = response.headers
        lines = known.get("x-sandbox-total-lines")
        try:
            return Download(
                size=int(known["x-sandbox-size"]),
                sha256=known.get("x-sandbox-sha256"),
                total_lines=None if lines is None else int(lines),
                truncated=known["x-sandbox-truncated"] == "true",
                chunks=self._wire.chunks(response),
            )
        except (KeyError, ValueError):
            raise not_ours(self._wire.url, response.status_code) from None

    def _post(
        self, verb: str, request: BaseModel, *, accept: str = "application/json"
    ) -> httpx.Request:
        return self._wire.request(
            "POST",
            f"/v1/sandbox/{verb}",
            seconds=_seconds(verb, request),
            headers={"accept": accept},
            json=fields(request),
        )

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


def _stream_name(name: object) -> StreamName:
    return "stderr" if name == "stderr" else "stdout"


def _seconds(verb: str, request: BaseModel) -> float:
    """Return how long an answer may keep us waiting: the call's own limit and some more."""
    if isinstance(request, models.ExecuteRequest):
        return request.timeout_seconds + _ANSWER_SECONDS
    return _ACQUIRE_SECONDS if verb == "acquire" else _ANSWER_SECONDS
