"""How much output one process may hold at a time: large answers wait outside, not in its memory."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.errors import ServerBusyError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["MAX_IN_FLIGHT_BYTES", "OutputInFlight"]

MAX_IN_FLIGHT_BYTES: Final = 64 * 1024 * 1024


class OutputInFlight:
    """Counts the output that calls under way may bring.

    Args:
        usual: Bytes of each stream that every call may have; only what asks for more is counted.
    """

    def __init__(self, usual: int) -> None:
        self._usual = usual
        self._bytes = 0

    @contextmanager
    def room(self, most: int) -> Iterator[None]:
        """Keep room for a command with `most` bytes of stdout and of stderr.

        Raises:
            ServerBusyError: Others have the room; nothing was started. One call always has room.
        """
        wanted = 2 * most * 4 // 3 if most > self._usual else 0  # as it travels, in base64
        if self._bytes and wanted and self._bytes + wanted > MAX_IN_FLIGHT_BYTES:
            raise ServerBusyError(
                "This server is busy with as much output as it holds at a time; nothing was "
                "started. Try again, or ask for less with max_output_bytes.",
                may_have_run=False,
            )
        self._bytes += wanted
        try:
            yield
        finally:
            self._bytes -= wanted
