"""Bearer keys, as an Authorization header carries them."""

from __future__ import annotations

__all__ = ["is_sendable"]


def is_sendable(key: str) -> bool:
    """Return whether an Authorization header can carry a key, unchanged."""
    return key == key.strip() and key.isascii() and key.isprintable()
