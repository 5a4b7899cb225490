"""Calls to the server: JSON, event streams and bytes, with every failure as one clear line."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from oneseek_sandbox.cli.failure import EXIT_UNREACHABLE, CommandLineError
from oneseek_sandbox.server_events import EventParser

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

__all__ = ["Connection", "server_sent_events"]

_LOOPBACK: Final = {"127.0.0.1", "::1", "localhost"}
_CONNECT_SECONDS: Final = 5.0
# A server that says nothing for so long is gone; an acquire may wait for a cluster.
_ANSWER_SECONDS: Final = 180.0


class Connection:
    """A server and a key.

    Args:
        server: Base URL, without `/v1`.
        key: Bearer key; empty sends none.

    Raises:
        CommandLineError: `server` is not an http or https URL, or `key` is not ASCII.
    """

    def __init__(self, server: str, key: str) -> None:
        url = _base_url(server)
        if not key.isascii() or any(character.isspace() for character in key):
            raise CommandLineError("the key has spaces or characters that are not ASCII", 2)
        self.server = str(url).rstrip("/")
        self._client = httpx.Client(
            base_url=url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(_ANSWER_SECONDS, connect=_CONNECT_SECONDS),
            # A proxy from the environment cannot reach this machine's loopback.
            trust_env=url.host not in _LOOPBACK,
            # Reading the certificates takes longer than the call when there is no TLS.
            verify=url.scheme == "https",
        )

    def call(self, verb: str, fields: Mapping[str, object], *, wait: float = 0) -> dict[str, Any]:
        """Send a verb and return its JSON answer; fields that are None are left out.

        `wait` is how long the operation itself may take, in seconds, beyond the usual.
        """
        with self._failures():
            response = self._client.post(
                f"/v1/sandbox/{verb}",
                json=_present(fields),
                timeout=httpx.Timeout(_ANSWER_SECONDS + wait, connect=_CONNECT_SECONDS),
            )
            return self._answer(response)

    def post_event(self, path: str, headers: dict[str, str], *, seconds: float) -> httpx.Response:
        """Post a CloudEvent without data and return whatever comes back.

        Raises:
            httpx.TransportError: Nothing does, within `seconds`.
        """
        timeout = httpx.Timeout(max(1.0, seconds), connect=_CONNECT_SECONDS)
        return self._client.post(path, headers=headers, timeout=timeout)

    def sandboxes(self) -> dict[str, Any]:
        """Return the list of live sandboxes."""
        with self._failures():
            return self._answer(self._client.get("/v1/sandbox"))

    def events(
        self, verb: str, fields: Mapping[str, object]
    ) -> Generator[tuple[str, dict[str, Any]]]:
        """Send a verb and give its events as they come; leaving the loop drops the connection."""
        request = self._client.build_request(
            "POST",
            f"/v1/sandbox/{verb}",
            json=_present(fields),
            headers={"accept": "text/event-stream"},
            # The command's own limit ends the wait: it may be silent for as long.
            timeout=httpx.Timeout(None, connect=_CONNECT_SECONDS),
        )
        with self._open(request) as response:
            for name, data in server_sent_events(response.iter_bytes()):
                if name == "error":
                    raise _failure(data["error"], response.status_code)
                yield name, data

    @contextmanager
    def download(self, fields: Mapping[str, object]) -> Iterator[httpx.Response]:
        """Open a file of the sandbox as a response whose bytes can be iterated."""
        request = self._client.build_request(
            "POST",
            "/v1/sandbox/read_file",
            json=_present(fields),
            headers={"accept": "application/octet-stream"},
        )
        with self._open(request) as response:
            yield response

    def upload(
        self, fields: Mapping[str, str | None], content: Iterable[bytes], size: int | None
    ) -> dict[str, Any]:
        """Write a file of the sandbox from `content`; `size` in bytes when it is known."""
        headers = {"content-type": "application/octet-stream"}
        if size is not None:
            headers["content-length"] = str(size)
        with self._failures():
            response = self._client.post(
                "/v1/sandbox/write_file", params=_present(fields), content=content, headers=headers
            )
            return self._answer(response)

    @contextmanager
    def _open(self, request: httpx.Request) -> Iterator[httpx.Response]:
        with self._failures():
            response = self._client.send(request, stream=True)
            try:
                if response.status_code != httpx.codes.OK:
                    response.read()
                    self._answer(response)
                yield response
            finally:
                response.close()

    def _answer(self, response: httpx.Response) -> dict[str, Any]:
        try:
            answer = json.loads(response.content)
        except ValueError:
            answer = None
        if response.status_code == httpx.codes.OK and isinstance(answer, dict):
            return answer
        if isinstance(answer, dict) and isinstance(answer.get("error"), dict):
            raise _failure(answer["error"], response.status_code)
        raise CommandLineError(
            f"{self.server} answered HTTP {response.status_code}, but not as an oneseek-sandbox "
            "server does; check --server or ONESEEK_SANDBOX_URL"
        )

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise CommandLineError(
                f"cannot reach {self.server} ({error}). Start the server with `oneseek-sandbox "
                "serve`, or name another one with --server or ONESEEK_SANDBOX_URL.",
                EXIT_UNREACHABLE,
            ) from None
        except httpx.TimeoutException:
            raise CommandLineError(
                f"{self.server} did not answer in time; whether the call was done is not known",
                EXIT_UNREACHABLE,
            ) from None
        except httpx.TransportError as error:
            raise CommandLineError(
                f"{self.server} ended the connection before its answer ({error}); whether the "
                "call was done is not known",
                EXIT_UNREACHABLE,
            ) from None


def server_sent_events(chunks: Iterable[bytes]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Parse an event stream into pairs of event name and JSON data, as the bytes come."""
    parser = EventParser()
    for chunk in chunks:
        yield from parser.feed(chunk)


def _base_url(server: str) -> httpx.URL:
    try:
        url = httpx.URL(server)
    except httpx.InvalidURL:
        url = httpx.URL("")
    if url.scheme not in {"http", "https"} or not url.host:
        raise CommandLineError(f"{server!r} is not a URL like http://127.0.0.1:8002", 2)
    return url


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _failure(error: dict[str, Any], status: int) -> CommandLineError:
    message = " ".join(str(error.get("message", "no message")).split())
    text = f"{error.get('code', f'HTTP {status}')}: {message}"
    if error.get("may_have_run"):
        text += " (the command may have run)"
    if status >= httpx.codes.INTERNAL_SERVER_ERROR and error.get("trace_id"):
        text += f" [trace {error['trace_id']}]"
    return CommandLineError(text)
