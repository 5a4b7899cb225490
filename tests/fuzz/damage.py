"""JSON documents that are nearly right: fields lost, null, of another type, or of another value."""

from __future__ import annotations

import copy
from typing import Any

import hypothesis.strategies as st

__all__ = ["ODD", "damaged"]

ODD = st.sampled_from(
    [None, True, False, 0, -1, 3.5, 10**30, "", "x", "failed", "FAILED", "Failed", "Succeeded",
     "Unknown", "CrashLoopBackOff", "\0", "é", "300.1.1.1", "::1", [], [None], ["x"], [[]], [{}], {},
     {"x": None}, {"": ""}, {"waiting": None}, {"terminated": 5}, {"running": {}}]
)  # fmt: skip
LOST = "lost"


def _places(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value)
    found = []
    for key, item in inner:
        found.append((*path, key))
        if isinstance(item, dict | list):
            found += _places(item, (*path, key))
    return found


@st.composite
def damaged(draw: st.DrawFn, document: dict[str, Any], *, most: int = 4) -> Any:
    """Draw a copy of a document with up to `most` changes; now and then not one field of it."""
    if draw(st.integers(0, 24)) == 0:
        return copy.deepcopy(draw(ODD))
    changed = copy.deepcopy(document)
    for _ in range(draw(st.integers(0, most))):
        places = _places(changed)
        if not places:
            break
        *path, last = draw(st.sampled_from(places))
        holder: Any = changed
        for step in path:
            holder = holder[step]
        value = copy.deepcopy(draw(st.just(LOST) | ODD))
        if value is not LOST:
            holder[last] = value
        else:
            del holder[last]
    return changed
