"""Which doomed entries are to be looked at now: each later than the time before.

What cannot be proved gone so stays on the list and delays nobody. `take_doomed.lua` does the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.leases.lease import Doomed

__all__ = ["MOST_DOUBLINGS", "doomed_among", "next_due", "take_doomed"]

MOST_DOUBLINGS: Final = 6
"""Of the pause between two looks at an entry."""


def doomed_among(doomed: dict[str, Doomed], uids: Iterable[str]) -> dict[str, Doomed]:
    """Return the entries of those of these sandboxes that are doomed."""
    return {uid: doomed[uid] for uid in uids if uid in doomed}


def next_due(doomed: dict[str, Doomed], limit: int) -> list[Doomed]:
    """Return at most `limit` entries, next due first; what was never taken has waited longest."""
    return sorted(doomed.values(), key=lambda entry: entry.next_ms)[:limit]


def take_doomed(
    doomed: dict[str, Doomed], limit: int, *, now_ms: int, pause_ms: int
) -> list[Doomed]:
    """Return at most `limit` entries that are due, longest due first, and put them off."""
    due = sorted((e for e in doomed.values() if e.next_ms <= now_ms), key=lambda e: e.next_ms)
    for entry in due[:limit]:
        pause = pause_ms << min(entry.tries, MOST_DOUBLINGS)
        doomed[entry.uid] = replace(entry, tries=entry.tries + 1, next_ms=now_ms + pause)
    return due[:limit]
