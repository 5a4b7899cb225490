"""What a process elsewhere prints, read to its end over however many connections that takes."""

from __future__ import annotations

import base64
import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.cli.failure import CommandLineError

if TYPE_CHECKING:
    from oneseek_sandbox.cli.connection import Connection
    from oneseek_sandbox.cli.own_terminal import OwnTerminal

__all__ = ["Watching"]

_WAIT_SECONDS: Final = 60
_SILENT_SECONDS: Final = 40.0
_LOST_SECONDS: Final = 30.0
"""A server that cannot be reached for so long is given up."""
_LIVED_SECONDS: Final = 10.0
"""A connection that broke after so long was one."""
_AGAIN_SECONDS: Final = 0.3


class Watching:
    """Shows the output of one process, in a thread of its own.

    Args:
        named: The fields that name the process.
        offset: Where to begin.
        waker: A descriptor that is written a zero when it is over.

    Attributes:
        process: The process, when it has ended.
        error: What has ended the watching instead.
    """

    def __init__(
        self,
        connection: Connection,
        named: dict[str, str],
        offset: int,
        terminal: OwnTerminal,
        waker: int,
    ) -> None:
        self._connection = connection
        self._named = named
        self._offset = offset
        self._terminal = terminal
        self._waker = waker
        self._failed_at = self._failing_since = -_LIVED_SECONDS
        self.process: dict[str, Any] | None = None
        self.error: CommandLineError | None = None

    @property
    def is_over(self) -> bool:
        """Whether there is no more to show."""
        return self.process is not None or self.error is not None

    def start(self) -> None:
        """Begin to show it."""
        threading.Thread(target=self._watch, daemon=True).start()

    def fail(self, error: CommandLineError) -> None:
        """End it for an error."""
        self.error = self.error or error
        self._wake()

    def _watch(self) -> None:
        try:
            while self.process is None:
                self._attach()
        except CommandLineError as error:
            self.fail(error)
        except Exception as error:  # noqa: BLE001 - whatever it is, the terminal is set back first
            self.fail(CommandLineError(f"the output cannot be shown: {error!r}"))
        self._wake()

    def _attach(self) -> None:
        """Show what comes over one connection; one that breaks is followed by the next."""
        fields = {**self._named, "offset": self._offset, "encoding": "base64"}
        fields["wait_seconds"] = _WAIT_SECONDS
        try:
            events = self._connection.attached(fields, silent_seconds=_SILENT_SECONDS)
            with contextlib.closing(events):
                for name, data in events:
                    self._take(name, data)
        except CommandLineError as error:
            if not error.retryable or self._is_lost(time.monotonic()):
                raise
            time.sleep(_AGAIN_SECONDS)

    def _is_lost(self, now: float) -> bool:
        """Note a failure; tells whether there were only failures for too long."""
        if now - self._failed_at > _LIVED_SECONDS:
            self._failing_since = now
        self._failed_at = now
        return now - self._failing_since > _LOST_SECONDS

    def _take(self, name: str, data: dict[str, Any]) -> None:
        if name in ("stdout", "stderr"):
            shown = base64.b64decode(data["text"])
            self._terminal.show(shown)
            self._offset += len(shown)
        elif name == "gap":
            self._offset = data["to"]
        elif name == "again":
            self._offset = data["next_offset"]
        elif name == "exit":
            self.process = data["process"]

    def _wake(self) -> None:
        with contextlib.suppress(OSError):
            os.write(self._waker, b"\0")
