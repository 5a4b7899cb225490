"""Lines out of a stream of bytes that comes in pieces. Pure."""

from __future__ import annotations

__all__ = ["LineSplitter"]


class LineSplitter:
    """Cuts a stream into lines.

    Looks at each byte once: a line of many pieces costs what its length costs, not its square.
    """

    def __init__(self) -> None:
        self._rest = bytearray()

    @property
    def waiting(self) -> int:
        """How many bytes wait for the end of their line."""
        return len(self._rest)

    def feed(self, piece: bytes) -> list[bytes]:
        """Return the lines that `piece` completes, without their newlines."""
        first, newline, more = piece.partition(b"\n")
        self._rest += first
        if not newline:
            return []
        *others, rest = more.split(b"\n")
        lines = [bytes(self._rest), *others]
        self._rest = bytearray(rest)
        return lines
