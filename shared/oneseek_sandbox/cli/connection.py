"""Calls to the server by the client of backends, with every failure as one clear line."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.cli.failure import EXIT_UNREACHABLE, EXIT_USAGE, CommandLineError
from oneseek_sandbox.client.answers import json_object
from oneseek_sandbox.client.blocking_wire import BlockingWire
from oneseek_sandbox.client.server import Server
from oneseek_sandbox.errors import ConfigurationError, SandboxError, ServerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping

    from oneseek_sandbox.client.streams import BlockingDownload, Event

__all__ = ["Connection"]

# A server that says nothing for so long is gone; an acquire may wait for a cluster.
_ANSWER_SECONDS: Final = 180.0
_SERVER_ERRORS: Final = 500


class Connection:
    """A server and a key.

    Answers are the server's JSON, also what a later version of it adds.

    Args:
        server: Base URL, without `/v1`.
        key: Bearer key; empty sends none.

    Raises:
        CommandLineError: `server` is not an http or https URL, or no header can carry `key`.
    """

    def __init__(self, server: str, key: str) -> None:
        try:
            self._server = Server(
                server,
                key,
                url_setting="--server or ONESEEK_SANDBOX_URL",
                key_setting="--key or ONESEEK_SANDBOX_KEY",
            )
        except ConfigurationError as error:
            raise CommandLineError(error.message, EXIT_USAGE) from None
        self.server = self._server.url
        self._wire = BlockingWire(self._server, answer_seconds=_ANSWER_SECONDS)

    def call(self, verb: str, fields: Mapping[str, object]) -> dict[str, Any]:
        """Send a verb and return its JSON answer; fields that are None are left out."""
        with _one_line():
            request = self._wire.verb(verb, _present(fields))
            return json_object(self._server, self._wire.answer(request))

    def post_event(
        self, path: str, headers: Mapping[str, str], *, seconds: float
    ) -> tuple[int, bytes]:
        """Post a CloudEvent without data and return the status and the body of the answer.

        Raises:
            ServerUnreachableError: None comes, within `seconds`.
        """
        request = self._wire.request("POST", path, headers=headers, seconds=max(1.0, seconds))
        return self._wire.exchange(request)

    def sandboxes(self, label: Mapping[str, str]) -> dict[str, Any]:
        """Return the list of live sandboxes that carry all of these labels."""
        with _one_line():
            request = self._wire.listing(label)
            return json_object(self._server, self._wire.answer(request))

    def events(self, fields: Mapping[str, object]) -> Generator[Event, None, None]:
        """Run a command and give its events as they come; closing this drops the connection."""
        with _one_line():
            request = self._wire.verb("execute", _present(fields), accept="text/event-stream")
            yield from self._wire.events(request)

    def attached(
        self, fields: Mapping[str, object], *, silent_seconds: float
    ) -> Generator[tuple[str, dict[str, Any]], None, None]:
        """Attach to a process and give name and data of each event, the last `exit` or `again`.

        Args:
            silent_seconds: A server that is silent for longer is gone; it says so every 15 s that
                it is not.
        """
        with _one_line():
            accept = {"accept": "text/event-stream"}
            request = self._wire.request(
                "POST", "/v1/sandbox/attach", headers=accept, seconds=silent_seconds, json=fields
            )
            yield from self._wire.attached(request)

    @contextmanager
    def download(self, fields: Mapping[str, object]) -> Iterator[BlockingDownload]:
        """Open a file of the sandbox."""
        with _one_line():
            accept = "application/octet-stream"
            request = self._wire.verb("read_file", _present(fields), accept=accept)
            with self._wire.download(request) as file:
                yield file

    def upload(
        self, fields: Mapping[str, object], content: Iterable[bytes], size: int | None
    ) -> dict[str, Any]:
        """Write a file of the sandbox from `content`; `size` in bytes when it is known."""
        with _one_line():
            written = self._wire.upload(_present(fields), content, size=size)
            return json_object(self._server, written)


@contextmanager
def _one_line() -> Iterator[None]:
    try:
        yield
    except ServerUnreachableError as error:
        raise CommandLineError(error.message, EXIT_UNREACHABLE, retryable=True) from None
    except SandboxError as error:
        text = f"{error.code}: {' '.join(error.message.split())}"
        if error.may_have_run:
            text += " (the command may have run)"
        if error.status >= _SERVER_ERRORS and error.trace_id:
            text += f" [trace {error.trace_id}]"
        raise CommandLineError(text, code=error.code, retryable=error.retryable) from None


def _present(fields: Mapping[str, object]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
