"""Server-sent events, read from bytes as they come."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from oneseek_sandbox.lines import LineSplitter

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EventParser"]


class EventParser:
    """Parses an event stream, whose data are JSON, piece by piece."""

    def __init__(self) -> None:
        self._name = ""
        self._data: list[bytes] = []
        self._lines = LineSplitter()

    def feed(self, chunk: bytes) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the pairs of name and data that `chunk` completes."""
        for line in self._lines.feed(chunk):
            field, _, value = line.rstrip(b"\r").partition(b":")
            value = value.removeprefix(b" ")
            if field == b"event":
                self._name = value.decode()
            elif field == b"data":
                self._data.append(value)
            elif not line.strip() and self._data:
                yield self._name, json.loads(b"\n".join(self._data))
                self._name, self._data = "", []
