"""The way to one server, for code that waits. Written by tools/blocking_client.py: do not edit."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from oneseek_sandbox.client.answers import (
    broken,
    events_of,
    file_facts,
    named_events,
    refusal_of_answer,
)
from oneseek_sandbox.client.failures import failures
from oneseek_sandbox.client.streams import BlockingDownload, Ended
from oneseek_sandbox.server_events import EventParser

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from oneseek_sandbox.client.server import Server
    from oneseek_sandbox.client.streams import Event

__all__ = ["BlockingWire"]

_BINARY: Final = "application/octet-stream"
_CONNECT_SECONDS: Final = 5.0
# A new sandbox may wait for a cluster to pull its image.
_ACQUIRE_SECONDS: Final = 180.0
_COMMAND_SECONDS: Final = 30.0
_LONGEST_ANSWER: Final = 512 * 1024 * 1024
"""No server of ours sends so much at once, whatever its settings are."""


class BlockingWire:
    """Sends requests to a server.

    Args:
        answer_seconds: How long it may be silent, beside what the call itself takes.
        transport: Another way to the server than the network, for tests.
    """

    def __init__(
        self,
        server: Server,
        *,
        answer_seconds: float,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.server = server
        self._seconds = answer_seconds
        self._http = httpx.Client(**server.client_options(), transport=transport)

    def close(self) -> None:
        """Close the pooled connections."""
        self._http.close()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        seconds: float | None = None,
        **body: Any,  # noqa: ANN401 - httpx's own arguments
    ) -> httpx.Request:
        """Build a request; `body` as httpx takes it, `seconds` the longest silence."""
        silence = seconds or self._seconds
        timeout = httpx.Timeout(silence, connect=min(silence, _CONNECT_SECONDS))
        return self._http.build_request(method, path, headers=headers, timeout=timeout, **body)

    def verb(
        self,
        verb: str,
        fields: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        *,
        accept: str = "application/json",
    ) -> httpx.Request:
        """Build the request of a verb from the fields of its body."""
        seconds = self._seconds
        if verb == "acquire":
            seconds = max(seconds, _ACQUIRE_SECONDS)
        elif verb == "execute":
            seconds += fields.get("timeout_seconds") or _COMMAND_SECONDS
        return self.request(
            "POST",
            f"/v1/sandbox/{verb}",
            headers={"accept": accept, **(headers or {})},
            seconds=seconds,
            json=fields,
        )

    def listing(
        self, label: Mapping[str, str], headers: Mapping[str, str] | None = None
    ) -> httpx.Request:
        """Build the request for the list of the sandboxes that carry these labels."""
        pairs = [("label", f"{key}={value}") for key, value in label.items()]
        return self.request("GET", "/v1/sandbox", headers=headers or {}, params=pairs or None)

    def exchange(
        self, request: httpx.Request, *, longest: int = _LONGEST_ANSWER
    ) -> tuple[int, bytes]:
        """Send a request and return the status and the body of its answer, whatever they are.

        Args:
            longest: The most bytes that the body may have.
        """
        with failures(self.server):
            response = self._http.send(request, stream=True)
        try:
            return response.status_code, self._read(response, longest)
        finally:
            response.close()

    def answer(self, request: httpx.Request) -> bytes:
        """Send a request and return the body of its answer."""
        with self._open(request) as response:
            return self._read(response)

    def events(self, request: httpx.Request) -> Generator[Event, None, None]:
        """Send a request and yield the events of its answer, the last of which is `Ended`.

        Closing the generator early drops the connection.
        """
        ended = False
        parser = EventParser()
        with self._open(request) as response:
            for chunk in self._chunks(response):
                for event in events_of(self.server, parser, chunk, response.headers):
                    ended = ended or isinstance(event, Ended)
                    yield event
        if not ended:
            raise broken(self.server, "ended its answer before it said how the command ended")

    def attached(self, request: httpx.Request) -> Generator[tuple[str, dict[str, Any]], None]:
        """Send an attach and yield its events by name and data, the last of which ends the answer.

        Closing the generator early drops the connection.
        """
        ended = False
        parser = EventParser()
        with self._open(request) as response:
            for chunk in self._chunks(response):
                for name, data in named_events(self.server, parser, chunk, response.headers):
                    ended = ended or name in ("exit", "again")
                    yield name, data
        if not ended:
            raise broken(self.server, "ended its answer before it said where to go on")

    @contextmanager
    def download(self, request: httpx.Request) -> Iterator[BlockingDownload]:
        """Send a request for a file's bytes; they come while the context lasts."""
        with self._open(request) as response:
            facts = file_facts(self.server, response.headers)
            yield BlockingDownload(**facts, chunks=self._chunks(response))

    def upload(
        self,
        fields: Mapping[str, Any],
        content: bytes | Iterable[bytes],
        headers: Mapping[str, str] | None = None,
        *,
        size: int | None = None,
    ) -> bytes:
        """Write a file from bytes and return the body of the answer.

        Args:
            fields: Those of a `write_file` but its content.
            size: Of the content in bytes, where that is known.
        """
        known = {} if size is None else {"content-length": str(size)}
        request = self.request(
            "POST",
            "/v1/sandbox/write_file",
            headers={"content-type": _BINARY, **known, **(headers or {})},
            params=fields,
            content=content,
        )
        return self.answer(request)

    @contextmanager
    def _open(self, request: httpx.Request) -> Iterator[httpx.Response]:
        """Send a request; inside, the answer's status is 200 and its body not read yet."""
        with failures(self.server):
            response = self._http.send(request, stream=True)
        try:
            if response.status_code != httpx.codes.OK:
                content = self._read(response)
                raise refusal_of_answer(
                    self.server, response.status_code, response.headers, content
                )
            yield response
        finally:
            response.close()

    def _chunks(self, response: httpx.Response) -> Iterator[bytes]:
        with failures(self.server):
            yield from response.iter_bytes()

    def _read(self, response: httpx.Response, longest: int = _LONGEST_ANSWER) -> bytes:
        received = bytearray()
        for chunk in self._chunks(response):
            received += chunk
            if len(received) > longest:
                raise broken(self.server, f"answered more than {longest} bytes")
        return bytes(received)
