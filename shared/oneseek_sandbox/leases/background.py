"""What processes in the background do to a lease: one pin for all of them, which is no operation's.

Servers of before know pins: they do not end such a lease either. Pure.
"""

from __future__ import annotations

from typing import Final

__all__ = ["BACKGROUND", "busy_until", "hold", "let_go"]

BACKGROUND: Final = "background"


def hold(pins: dict[str, int], until_ms: int, ends_ms: int) -> None:
    """Hold a lease until then at least, within its maximum lifetime.

    Args:
        ends_ms: The end of its lifetime; 0 for none.
    """
    until_ms = max(until_ms, pins.get(BACKGROUND, 0))
    pins[BACKGROUND] = min(until_ms, ends_ms) if ends_ms else until_ms


def let_go(pins: dict[str, int], now_ms: int) -> None:
    """Hold it no longer, unless something else does."""
    if not any(until > now_ms for pin, until in pins.items() if pin != BACKGROUND):
        pins.pop(BACKGROUND, None)


def busy_until(pins: dict[str, int], now_ms: int) -> int:
    """Return until when a process may run in the background; 0 for none."""
    until_ms = pins.get(BACKGROUND, 0)
    return until_ms if until_ms > now_ms else 0
