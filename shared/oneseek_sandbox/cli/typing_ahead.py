"""What a person types into a shell elsewhere: sent in order, once, and watched for the way out."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.cli.failure import CommandLineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.cli.connection import Connection

__all__ = ["MOST_WAITING", "Escape", "Typing", "stdin_offset"]

MOST_WAITING: Final = 1024 * 1024
"""Bytes; with more of them no key is read."""
_AT_ONCE: Final = 16 * 1024
_AGAIN_SECONDS: Final = 0.2
_OVER: Final = frozenset({"process_ended", "process_lost", "stdin_closed"})


def stdin_offset(connection: Connection, named: dict[str, str]) -> int:
    """Return how many bytes a process was given, by whomever."""
    process = connection.call("processes", named)["processes"][0]
    return int(process["stdin_offset"])


class Escape:
    """Finds `~.` at the beginning of a line, as ssh does; `~~` is one `~`."""

    def __init__(self) -> None:
        self._at_start = True
        self._has_tilde = False

    def feed(self, keys: bytes) -> tuple[bytes, bool]:
        """Return the keys to send, and whether the way out was typed after them."""
        sent = bytearray()
        for key in keys:
            if self._has_tilde:
                self._has_tilde = False
                if key == ord("."):
                    return bytes(sent), True
                sent += b"~" if key == ord("~") else bytes((ord("~"), key))
            elif self._at_start and key == ord("~"):
                self._has_tilde = True
                continue
            else:
                sent.append(key)
            self._at_start = key in b"\r\n"
        return bytes(sent), False


class Typing:
    """Sends keys and sizes to a process, in a thread of its own.

    Args:
        named: The fields that name the process.
        offset: How much it was given before.
        failed: Called with what ends the sending, unless the process has ended.
    """

    def __init__(
        self,
        connection: Connection,
        named: dict[str, str],
        offset: int,
        failed: Callable[[CommandLineError], None],
    ) -> None:
        self._connection = connection
        self._named = named
        self._offset = offset
        self._failed = failed
        self._keys = bytearray()
        self._size: dict[str, int] | None = None
        self._changed = threading.Condition()

    @property
    def is_full(self) -> bool:
        """Whether as much waits as may."""
        return len(self._keys) >= MOST_WAITING

    def add(self, keys: bytes = b"", size: dict[str, int] | None = None) -> None:
        """Take keys, or the size of the terminal, to be sent."""
        with self._changed:
            self._keys += keys
            self._size = size or self._size
            self._changed.notify()

    def start(self) -> None:
        """Begin to send."""
        threading.Thread(target=self._send, daemon=True).start()

    def _send(self) -> None:
        try:
            while True:
                with self._changed:
                    self._changed.wait_for(lambda: self._keys or self._size)
                    keys, size = bytes(self._keys[:_AT_ONCE]), self._size
                    del self._keys[:_AT_ONCE]
                    self._size = None
                self._give(keys, size)
        except CommandLineError as error:
            if error.code not in _OVER:  # which is told by what reads the output
                self._failed(error)

    def _give(self, keys: bytes, size: dict[str, int] | None) -> None:
        """Send until it is taken: what is sent twice is taken once."""
        fields: dict[str, Any] = {**self._named, "encoding": "base64", "resize": size}
        fields["data"] = base64.b64encode(keys).decode("ascii")
        is_first = True
        while True:
            try:
                taken = int(
                    self._connection.call("input", {**fields, "offset": self._offset})[
                        "stdin_offset"
                    ]
                )
            except CommandLineError as error:
                if error.code == "input_gap":  # somebody else has typed, too
                    self._offset = stdin_offset(self._connection, self._named)
                    continue
                if not error.retryable:
                    raise
                is_first = False
                time.sleep(_AGAIN_SECONDS)
                continue
            by_others = keys and is_first and taken > self._offset + len(keys)
            self._offset = taken
            if not by_others:
                return
