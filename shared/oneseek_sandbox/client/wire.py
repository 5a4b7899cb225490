"""The way to one server: its address, the key, and answers that are read with suspicion."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from oneseek_sandbox.auth import is_sendable
from oneseek_sandbox.client.failures import broken, failures, not_ours, refusal_of_answer
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.telemetry.spans import current_span

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from pydantic import BaseModel

    from oneseek_sandbox.client.sandboxes import AnswerT

__all__ = ["Wire", "fields"]

_LOOPBACK: Final = ("127.0.0.1", "::1", "localhost")
_CONNECT_SECONDS: Final = 5.0
_LONGEST_ANSWER: Final = 512 * 1024 * 1024
"""No server of ours sends so much at once, whatever its settings are."""


class Wire:
    """Sends requests to the provisioner at `url`.

    Follows no redirect, so that the key goes nowhere else.

    Raises:
        ConfigurationError: `url` is no http or https URL or holds a password, or no header can
            carry the key.
    """

    def __init__(
        self, url: str, api_key: str, transport: httpx.AsyncBaseTransport | None = None
    ) -> None:
        base = _base_url(url)
        self.url = str(base)
        # What is decompressed has no length that could be bounded beforehand.
        headers = {"accept-encoding": "identity"}
        if api_key:
            if not is_sendable(api_key):
                raise ConfigurationError(
                    "sandbox_provisioner_api_key begins or ends with a blank or a newline, or has "
                    "characters beyond printable ASCII; no header can carry it."
                )
            headers["authorization"] = f"Bearer {api_key}"
        self._http = httpx.AsyncClient(
            base_url=base,
            headers=headers,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=64),
            follow_redirects=False,
            # A proxy from the environment cannot reach this machine's loopback.
            trust_env=base.host not in _LOOPBACK,
            transport=transport,
        )

    async def close(self) -> None:
        """Close the pooled connections."""
        await self._http.aclose()

    def request(
        self,
        method: str,
        path: str,
        *,
        seconds: float,
        headers: dict[str, str],
        **body: Any,  # noqa: ANN401 - httpx's own arguments
    ) -> httpx.Request:
        """Build a request; `body` as httpx takes it, `seconds` the longest silence."""
        return self._http.build_request(
            method,
            path,
            headers=headers | _trace(),
            timeout=httpx.Timeout(seconds, connect=_CONNECT_SECONDS),
            **body,
        )

    @asynccontextmanager
    async def open(self, request: httpx.Request) -> AsyncIterator[httpx.Response]:
        """Send a request; inside, the answer's status is 200 and its body not read yet."""
        with failures(self.url):
            response = await self._http.send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                raise refusal_of_answer(self.url, response, await self._read(response))
            yield response
        finally:
            await response.aclose()

    async def answer(self, request: httpx.Request, answer: type[AnswerT]) -> AnswerT:
        """Send a request and return its whole answer."""
        async with self.open(request) as response:
            content = await self._read(response)
        try:
            return answer.model_validate_json(content)
        except ValueError:
            raise not_ours(self.url, response.status_code) from None

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """Yield the bytes of an answer as they come."""
        with failures(self.url):
            async for chunk in response.aiter_bytes():
                yield chunk

    async def _read(self, response: httpx.Response) -> bytes:
        received = bytearray()
        async for chunk in self.chunks(response):
            received += chunk
            if len(received) > _LONGEST_ANSWER:
                raise broken(self.url, f"answered more than {_LONGEST_ANSWER} bytes")
        return bytes(received)


def fields(request: BaseModel) -> dict[str, Any]:
    """Return what was set, as JSON has it."""
    return request.model_dump(exclude_unset=True, exclude_none=True)


def _trace() -> dict[str, str]:
    traceparent = current_span().traceparent
    return {"traceparent": traceparent} if traceparent else {}


def _base_url(url: str) -> httpx.URL:
    try:
        base = httpx.URL(url)
    except httpx.InvalidURL:
        base = httpx.URL("")
    if base.userinfo:
        raise ConfigurationError(
            "sandbox_provisioner_url holds a user name or a password; give the key by "
            "sandbox_provisioner_api_key."
        )
    if base.scheme not in {"http", "https"} or not base.host:
        raise ConfigurationError(
            f"{url!r} is not a provisioner URL; give one like http://127.0.0.1:8002."
        )
    return base
