"""Sandboxes behind a base URL: the functions or the gateway, over HTTP."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import httpx

from oneseek_sandbox import models
from oneseek_sandbox.client.failures import failures, refusal
from oneseek_sandbox.client.retries import Retries, is_repeatable
from oneseek_sandbox.client.sandboxes import AnswerT, Download, Output, Sandboxes
from oneseek_sandbox.errors import ConfigurationError, SandboxError, ServerUnreachableError
from oneseek_sandbox.server_events import server_events
from oneseek_sandbox.telemetry.spans import current_span

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Awaitable, Callable

    from pydantic import BaseModel

__all__ = ["RemoteSandboxes"]

_BINARY: Final = "application/octet-stream"
_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_CONNECT_SECONDS: Final = 5.0
_ANSWER_SECONDS: Final = 60.0
# A new sandbox may wait for a cluster to pull its image.
_ACQUIRE_SECONDS: Final = 180.0
_RETRY_SECONDS: Final = 10.0


class RemoteSandboxes(Sandboxes):
    """The sandboxes of a provisioner at `url`.

    Follows no redirect, so that the key goes nowhere else.

    Args:
        url: Base URL, without `/v1`.
        api_key: Sent as `Authorization: Bearer`; empty sends none.
        retry_seconds: How long a call may wait in all to be tried again, where that is safe.
        transport: Another way to the server than the network, for tests.

    Raises:
        ConfigurationError: `url` is no http or https URL.
    """

    def __init__(
        self,
        url: str,
        api_key: str = "",
        *,
        retry_seconds: float = _RETRY_SECONDS,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        base = _base_url(url)
        self._url = str(base)
        self._retry_seconds = retry_seconds
        self._http = httpx.AsyncClient(
            base_url=base,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
            # A proxy from the environment cannot reach this machine's loopback.
            trust_env=base.host not in _LOOPBACK,
            transport=transport,
        )

    async def open(self) -> None:
        """Nothing is sent: the first call finds the server, or says that it is not there."""

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._http.aclose()

    async def list_sandboxes(self) -> models.ListSandboxesAnswer:
        """Return the live sandboxes of all scopes."""
        request = self._http.build_request("GET", "/v1/sandbox", headers=_trace())
        return await self._answer(request, models.ListSandboxesAnswer)

    async def _call(self, verb: str, request: BaseModel, answer: type[AnswerT]) -> AnswerT:
        async def send() -> AnswerT:
            return await self._answer(self._post(verb, request), answer)

        return await self._tried(send, repeatable=is_repeatable(request))

    async def _stream(
        self, request: models.ExecuteRequest
    ) -> AsyncGenerator[Output | models.ExecuteAnswer, None]:
        sent = self._post("execute", request, accept="text/event-stream")
        ended = False
        async with self._open(sent) as response:
            async for name, data in server_events(response.aiter_bytes()):
                if name == "error":
                    raise refusal(data, response.headers)
                if name == "exit":
                    ended = True
                    yield models.ExecuteAnswer.model_validate(data)
                else:
                    yield Output("stderr" if name == "stderr" else "stdout", str(data["text"]))
        if not ended:
            raise ServerUnreachableError(
                f"{self._url} ended its answer before it told how the command ended. The command "
                "may have run; look before you repeat it.",
                may_have_run=True,
            )

    async def _upload(
        self, target: models.WriteFileTarget, content: bytes | AsyncIterable[bytes]
    ) -> models.WriteFileAnswer:
        query = {
            name: str(value).lower() if isinstance(value, bool) else value
            for name, value in _fields(target).items()
        }
        headers = {"content-type": _BINARY, **_trace()}

        async def send() -> models.WriteFileAnswer:
            request = self._http.build_request(
                "POST", "/v1/sandbox/write_file", params=query, content=content, headers=headers
            )
            return await self._answer(request, models.WriteFileAnswer)

        # A stream can be read only once.
        again = isinstance(content, bytes) and is_repeatable(target)
        return await self._tried(send, repeatable=again, unsent=isinstance(content, bytes))

    @asynccontextmanager
    async def _download(self, request: models.ReadFileRequest) -> AsyncIterator[Download]:
        async with self._open(self._post("read_file", request, accept=_BINARY)) as response:
            known = response.headers
            yield Download(
                size=int(known["x-sandbox-size"]),
                sha256=known["x-sandbox-sha256"],
                total_lines=int(known["x-sandbox-total-lines"]),
                truncated=known["x-sandbox-truncated"] == "true",
                chunks=_chunks(response, self._url),
            )

    def _post(
        self, verb: str, request: BaseModel, *, accept: str = "application/json"
    ) -> httpx.Request:
        return self._http.build_request(
            "POST",
            f"/v1/sandbox/{verb}",
            json=_fields(request),
            headers={"accept": accept, **_trace()},
            timeout=httpx.Timeout(_seconds(verb, request), connect=_CONNECT_SECONDS),
        )

    async def _answer(self, request: httpx.Request, answer: type[AnswerT]) -> AnswerT:
        async with self._open(request) as response:
            content = await response.aread()
        try:
            return answer.model_validate_json(content)
        except ValueError as error:
            raise ServerUnreachableError(
                f"{self._url} did not answer as an oneseek-sandbox server does; check the URL "
                f"({content[:100]!r}).",
                may_have_run=None,
            ) from error

    @asynccontextmanager
    async def _open(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request; inside, the answer's status is 200."""
        with failures(self._url):
            response = await self._http.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    raise refusal(_error(await response.aread(), response), response.headers)
                yield response
            finally:
                await response.aclose()

    async def _tried(
        self,
        send: Callable[[], Awaitable[AnswerT]],
        *,
        repeatable: bool,
        unsent: bool = True,
    ) -> AnswerT:
        retries = Retries(self._retry_seconds if repeatable or unsent else 0)
        while True:
            try:
                return await send()
            except SandboxError as error:
                pause = retries.pause(error, repeatable=repeatable)
                if pause is None:
                    raise
            await asyncio.sleep(pause)


def _fields(request: BaseModel) -> dict[str, Any]:
    return request.model_dump(exclude_unset=True, exclude_none=True)


def _seconds(verb: str, request: BaseModel) -> float | None:
    """Return how long an answer may keep us waiting: the call's own limit and some more."""
    if isinstance(request, models.ExecuteRequest):
        return request.timeout_seconds + _ANSWER_SECONDS
    return _ACQUIRE_SECONDS if verb == "acquire" else _ANSWER_SECONDS


def _trace() -> dict[str, str]:
    traceparent = current_span().traceparent
    return {"traceparent": traceparent} if traceparent else {}


def _error(content: bytes, response: httpx.Response) -> dict[str, Any]:
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        error = None
    if isinstance(error, dict):
        return cast("dict[str, Any]", error)
    return {"status": response.status_code}


async def _chunks(response: httpx.Response, url: str) -> AsyncIterator[bytes]:
    with failures(url):
        async for chunk in response.aiter_bytes():
            yield chunk


def _base_url(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.scheme not in {"http", "https"} or not base.host:
        raise ConfigurationError(
            f"{url!r} is no URL of a provisioner; give one like http://127.0.0.1:8002."
        )
    return base
