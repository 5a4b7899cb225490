"""What is given to a process elsewhere: in order, once; and what a person types, with the way out."""

from __future__ import annotations

import base64
import threading
import time
from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.cli.failure import CommandLineError

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.cli.connection import Connection

__all__ = ["MOST_WAITING", "Escape", "Typing", "give"]

MOST_WAITING: Final = 1024 * 1024
"""Bytes; with more of them no key is read."""
_AT_ONCE: Final = 16 * 1024
_AGAIN_SECONDS: Final = 0.2
_OVER: Final = frozenset({"process_ended", "process_lost", "stdin_closed"})


def give(
    connection: Connection,
    named: dict[str, str],
    data: bytes,
    offset: int,
    *,
    size: dict[str, int] | None = None,
    is_patient: bool = False,
) -> int:
    """Give a process input until all is taken; returns the position after it.

    Args:
        named: The fields that name the process.
        offset: The position of the first byte, so that what is sent twice is taken once.
        size: The new one of its terminal.
        is_patient: Tries again whenever that may succeed, not only when the process reads slowly.
    """
    fields: dict[str, Any] = {**named, "encoding": "base64", "resize": size}
    fields["data"] = base64.b64encode(data).decode("ascii")
    is_first = True
    while True:
        try:
            taken = int(connection.call("input", {**fields, "offset": offset})["stdin_offset"])
        except CommandLineError as error:
            if error.code == "input_gap":  # somebody else has written to it, too
                offset = int(connection.call("processes", named)["processes"][0]["stdin_offset"])
                continue
            if not (error.retryable if is_patient else error.code == "input_full"):
                raise
            is_first = False
            time.sleep(_AGAIN_SECONDS)
            continue
        by_others = data and is_first and taken > offset + len(data)
        offset = taken
        if not by_others:
            return offset


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
                self._offset = give(
                    self._connection, self._named, keys, self._offset, size=size, is_patient=True
                )
        except CommandLineError as error:
            if error.code not in _OVER:  # which is told by what reads the output
                self._failed(error)
