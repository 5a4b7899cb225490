"""How the server's memory stays as small as what it holds: glibc keeps what was freed, unless told."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Final

__all__ = ["allocate_in_one_arena", "give_back_free_memory"]

_M_ARENA_MAX: Final = -8
"""The parameter of `mallopt` that MALLOC_ARENA_MAX sets (malloc.h)."""


def allocate_in_one_arena() -> None:
    """Let no thread have an arena of its own, which keeps its peak; before threads start."""
    with contextlib.suppress(OSError, AttributeError):  # a libc that has no arenas
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def give_back_free_memory() -> None:
    """Return free pages below memory in use, which only the top of the heap does by itself."""
    with contextlib.suppress(OSError, AttributeError):  # a libc that has no such call
        ctypes.CDLL(None).malloc_trim(0)
