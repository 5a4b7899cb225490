"""Terminals of processes, and who types into them."""

from __future__ import annotations

import re
import time
from typing import Any

from tests.guest.client import Client, execute_fields
from tests.guest.managed import attach, give, text

__all__ = ["SIZE", "Typist", "open_terminal"]

SIZE = {"columns": 90, "rows": 20}


def open_terminal(client: Client, command: str | list[str], request_id: str, **fields: Any) -> Any:
    wanted = {"timeout_ms": None, "background": True, "stdin_open": True, "terminal": SIZE}
    return client.call(
        "/execute", **execute_fields(command, **{**wanted, "request_id": request_id, **fields})
    )


class Typist:
    """Types into one terminal, and reads what it shows."""

    def __init__(self, client: Client, request_id: str) -> None:
        self.client = client
        self.request_id = request_id
        self.typed = 0
        self.offset = 0
        self.shown = b""

    def type(self, data: bytes) -> None:
        self.typed = give(self.client, self.request_id, data, self.typed)["stdin_offset"]

    def read_until(self, pattern: bytes, seconds: float = 60.0) -> bytes:
        """Read on until a pattern is shown; returns what was shown to its end, and forgets it."""
        deadline = time.monotonic() + seconds
        while not (found := re.search(pattern, self.shown)):
            answer = attach(self.client, self.request_id, self.offset)
            assert answer["events"] or answer["process"]["state"] == "running", self.shown
            assert time.monotonic() < deadline, self.shown
            self.offset = answer["next_offset"]
            self.shown += text(answer["events"])
        shown, self.shown = self.shown[: found.end()], self.shown[found.end() :]
        return shown
