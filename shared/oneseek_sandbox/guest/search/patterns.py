"""Patterns of names, as shells have them."""

from __future__ import annotations

import fnmatch
import functools
import re

from oneseek_sandbox.guest.search.base import Refused

__all__ = ["Pattern", "alternatives", "compiled"]

_MOST_ALTERNATIVES = 1000


def alternatives(pattern: str) -> list[str]:
    """Expand `{a,b}`, nested ones too; a group without a comma is literal."""
    done: list[str] = []
    waiting = [("", pattern)]
    while waiting:
        if len(done) + len(waiting) > _MOST_ALTERNATIVES:
            raise Refused("pattern_too_broad")
        before, rest = waiting.pop()
        begin = rest.find("{")
        commas, end = _group(rest, begin) if begin >= 0 else ([], -1)
        if end < 0:
            done.append(before + rest)
        elif not commas:
            waiting.append((before + rest[: begin + 1], rest[begin + 1 :]))
        else:
            marks = [begin, *commas, end]
            waiting += [
                (before + rest[:begin], rest[low + 1 : high] + rest[end + 1 :])
                for low, high in zip(marks, marks[1:])
            ]
    return done


def _group(text: str, begin: int) -> tuple[list[int], int]:
    """Return where the commas and the end of the group that begins at `begin` are; -1: no end."""
    depth, commas = 0, list[int]()
    for index in range(begin, len(text)):
        depth += {"{": 1, "}": -1}.get(text[index], 0)
        if depth == 0:
            return commas, index
        if depth == 1 and text[index] == ",":
            commas.append(index)
    return [], -1


class Pattern:
    """A glob: without a slash for the last name at any depth, else for the path below the root.

    Names that begin with a dot want a pattern that does, unless `dots`.
    """

    def __init__(self, pattern: str, *, dots: bool) -> None:
        if ".." in pattern.replace("\\", "/").split("/"):
            raise Refused("invalid_pattern")
        self._dots = dots
        self._anywhere = "/" not in pattern
        self._choices = [
            [part for part in choice.split("/") if part]
            for choice in alternatives(pattern)
            # A slash at the end asks for directories only, except after `**`.
            if not choice.endswith("/") or choice.endswith("**/")
        ]

    def fits(self, parts: list[str]) -> bool:
        """Tell whether a path below the root, as its names, is meant."""
        if self._anywhere:
            return any(len(c) == 1 and self._name_fits(parts[-1], c[0]) for c in self._choices)
        return any(self._parts_fit(parts, choice) for choice in self._choices)

    def _parts_fit(self, parts: list[str], choice: list[str]) -> bool:
        reached = {0}
        for index, wanted in enumerate(choice):
            if wanted != "**":
                reached = {
                    at + 1
                    for at in reached
                    if at < len(parts) and self._name_fits(parts[at], wanted)
                }
                continue
            spread = set()
            for at in reached:
                end = at
                while end < len(parts) and (self._dots or not parts[end].startswith(".")):
                    end += 1
                # At the end `**` stands for what is below, so for one name at least.
                spread |= set(range(at + (index == len(choice) - 1), end + 1))
            reached = spread
        return len(parts) in reached

    def _name_fits(self, name: str, wanted: str) -> bool:
        if name.startswith(".") and not wanted.startswith(".") and not self._dots:
            return False
        return compiled(wanted).match(name) is not None


@functools.cache
def compiled(wanted: str) -> re.Pattern[str]:
    """Return what fits one name."""
    return re.compile(fnmatch.translate(re.sub(r"\[\^(?=[^\]])", "[!", wanted)))
