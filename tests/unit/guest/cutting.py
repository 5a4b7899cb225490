"""Data in pieces, as it comes."""

from __future__ import annotations

import random

__all__ = ["pieces"]


def pieces(data: bytes, seed: int) -> list[bytes]:
    """Cut bytes at random places."""
    source = random.Random(seed)
    cuts = sorted(source.randrange(len(data) + 1) for _ in range(source.randrange(9)))
    return [data[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
