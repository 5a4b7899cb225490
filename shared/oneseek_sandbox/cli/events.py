"""The CloudEvent that starts a cleanup, sent again with the same id until it has arrived."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.cli.failure import EXIT_UNREACHABLE, CommandLineError
from oneseek_sandbox.errors import ServerUnreachableError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.cli.connection import Connection

__all__ = ["send_cleanup_event"]

_TYPE: Final = "dev.oneseek.sandbox.cleanup.requested.v1"
_PATH: Final = "/v1/sandbox/cleanup_idle"
_SOURCE: Final = "/oneseek-sandbox/cleanup"
# A function that starts from zero on a node without its image is slow; the CronJob waits longer.
_DEADLINE_SECONDS: Final = 150.0
_TAKEN: Final = range(200, 300)
_PASSING: Final = frozenset({408, 425, 429, 500, 502, 503, 504})


def send_cleanup_event(connection: Connection, event_id: str) -> None:
    """Deliver the event, at least once.

    Raises:
        CommandLineError: It was refused, or nobody took it within 150 s.
    """
    headers = {
        "ce-specversion": "1.0",
        "ce-id": event_id,
        "ce-source": _SOURCE,
        "ce-type": _TYPE,
        "ce-time": datetime.now(UTC).isoformat(),
    }
    end = time.monotonic() + _DEADLINE_SECONDS
    for pause in _pauses():
        left = end - time.monotonic()
        try:
            status, body = connection.post_event(_PATH, headers, seconds=left)
            if status in _TAKEN:
                return
            outcome = f"HTTP {status}: {body[:300].decode(errors='replace')}"
            if status not in _PASSING:
                raise CommandLineError(f"the event was refused with {outcome}")
        except ServerUnreachableError as error:
            outcome = error.message
        if time.monotonic() + pause >= end:
            raise CommandLineError(
                f"{connection.server} did not take the event within {_DEADLINE_SECONDS:g} s; the "
                f"last try: {outcome}",
                EXIT_UNREACHABLE,
            )
        time.sleep(pause)
    raise AssertionError("pauses never end")


def _pauses() -> Iterator[float]:
    pause = 0.5
    while True:
        yield pause
        pause = min(2 * pause, 15.0)
