"""A clock that only tests move."""

from __future__ import annotations

__all__ = ["FakeClock"]


class FakeClock:
    """Stands still until it is told to advance."""

    def __init__(self, now_ms: int = 1_700_000_000_000) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        """Return the time in milliseconds since 1970, UTC."""
        return self._now_ms

    def advance(self, milliseconds: int) -> None:
        """Move on; never back, as leases rely on it."""
        if milliseconds < 0:
            raise ValueError("time does not go backwards")
        self._now_ms += milliseconds
