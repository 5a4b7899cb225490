"""Time, so that tests can hold it. The Redis store uses the server's clock instead."""

from __future__ import annotations

import time
from typing import Protocol

__all__ = ["Clock", "SystemClock"]


class Clock(Protocol):
    """Where the stores without a server of their own take the time from."""

    def now_ms(self) -> int:
        """Return the wall clock time in milliseconds since 1970, UTC."""
        ...


class SystemClock:
    """The machine's clock."""

    def now_ms(self) -> int:
        """Return the wall clock time in milliseconds since 1970, UTC."""
        return time.time_ns() // 1_000_000
