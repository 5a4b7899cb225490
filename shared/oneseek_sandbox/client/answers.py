"""Answers of a server, read with suspicion: errors, events, and what is known of a file.

No message quotes what was sent or answered: a header may be the key, an answer a file.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.client.streams import Ended, Gap, Output
from oneseek_sandbox.errors import (
    InternalError,
    SandboxError,
    ServerUnreachableError,
    UnavailableError,
    error_for_code,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from oneseek_sandbox.client.server import Server
    from oneseek_sandbox.client.streams import Event
    from oneseek_sandbox.server_events import EventParser

__all__ = [
    "broken",
    "events_of",
    "file_facts",
    "json_object",
    "named_events",
    "not_ours",
    "refusal_of_answer",
]

_OK: Final = 200
_SERVER_ERRORS: Final = 500
_LONGEST_DELAY_DIGITS: Final = 6


def broken(server: Server, how: str) -> ServerUnreachableError:
    """Return the error for an answer that is not whole."""
    return ServerUnreachableError(
        f"{server.url} {how}. Whether the call was done is not known; look before you repeat it.",
        may_have_run=True,
    )


def not_ours(server: Server, status: int) -> SandboxError:
    """Return the error for an answer that no oneseek-sandbox server gives."""
    kind = InternalError if 300 <= status < _SERVER_ERRORS else UnavailableError
    return kind(
        f"{server.url} answered HTTP {status}, but not as an oneseek-sandbox server does. Check "
        f"{server.url_setting}, and what stands between.",
        may_have_run=True,
    )


def refusal_of_answer(
    server: Server, status: int, headers: Mapping[str, str], content: bytes
) -> SandboxError:
    """Return the error that an answer with another status than 200 tells of."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        error = None
    if not isinstance(error, dict) or "code" not in error:
        return not_ours(server, status)
    return _refusal(error, headers)


def json_object(server: Server, content: bytes) -> dict[str, Any]:
    """Return the JSON object that an answer with status 200 is.

    Raises:
        SandboxError: It is none.
    """
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        raise not_ours(server, _OK)
    return answer


def events_of(
    server: Server, parser: EventParser, chunk: bytes, headers: Mapping[str, str]
) -> Iterator[Event]:
    """Yield the events that a chunk completes; of kinds that are not known, nothing.

    Raises:
        SandboxError: The server tells of one, or sends what no server of ours does.
    """
    for name, data in named_events(server, parser, chunk, headers):
        try:
            match name:
                case "stdout" | "stderr":
                    found: Event = Output(name, str(data["text"]))
                case "gap":
                    found = Gap(
                        "stderr" if data["stream"] == "stderr" else "stdout", int(data["bytes"])
                    )
                case "exit":
                    found = Ended(data)
                case _:
                    continue
        except (ValueError, KeyError, TypeError):
            raise not_ours(server, _OK) from None
        yield found


def named_events(
    server: Server, parser: EventParser, chunk: bytes, headers: Mapping[str, str]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield name and data of the events that a chunk completes.

    Raises:
        SandboxError: The server tells of one, or sends what no server of ours does.
    """
    try:
        for name, data in parser.feed(chunk):
            if name == "error":
                raise _refusal(data["error"], headers)
            yield name, {**data}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise not_ours(server, _OK) from None


def file_facts(server: Server, headers: Mapping[str, str]) -> dict[str, Any]:
    """Return what is known of a file being read, by the names of `Download`."""
    lines = headers.get("x-sandbox-total-lines")
    try:
        return {
            "size": int(headers["x-sandbox-size"]),
            "sha256": headers.get("x-sandbox-sha256"),
            "total_lines": None if lines is None else int(lines),
            "truncated": headers["x-sandbox-truncated"] == "true",
        }
    except (KeyError, ValueError):
        raise not_ours(server, _OK) from None


def _refusal(error: Mapping[str, Any], headers: Mapping[str, str]) -> SandboxError:
    """Return an error that a server tells of, of the same class as there.

    Args:
        error: The `error` object of its answer.
    """
    code = str(error["code"])
    message = str(error.get("message", "")) or "The server gives no reason."
    found = error_for_code(code)
    if found is None:  # of a later version
        found = UnavailableError if error.get("retryable") is True else InternalError
        message = f"{code}: {message}"
    after = headers.get("retry-after", "")
    is_delay = after.isascii() and after.isdigit() and len(after) <= _LONGEST_DELAY_DIGITS
    may_have_run = error.get("may_have_run")
    refused = found(
        message,
        retry_after_seconds=int(after) if is_delay else None,
        may_have_run=may_have_run if isinstance(may_have_run, bool) else None,
    )
    if isinstance(trace_id := error.get("trace_id"), str):
        refused.trace_id = trace_id
    if isinstance(details := error.get("details"), dict):
        refused.details = {
            str(name): figure for name, figure in details.items() if type(figure) is int
        }
    return refused
