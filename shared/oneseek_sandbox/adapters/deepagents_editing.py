"""Edits of text that was shown with LF, whatever its lines end with."""

from __future__ import annotations

import re

from oneseek_sandbox.errors import TextNotFoundError, TextNotUniqueError

__all__ = ["edited", "has_crlf"]


def has_crlf(content: bytes) -> bool:
    """Tell whether some lines end with CRLF."""
    return b"\r\n" in content


def edited(content: bytes, old: str, new: str, *, every: bool) -> tuple[bytes, int]:
    """Return the content with `new` for `old`, and how often; line ends stay of their kind.

    Raises:
        TextNotFoundError: `old` is not there, whatever ends its lines.
        TextNotUniqueError: It is there more than once, and `every` is not set.
    """
    lines = old.encode().replace(b"\r\n", b"\n").split(b"\n")
    pattern = re.compile(rb"\r?\n".join(map(re.escape, lines)))
    usual = b"\r\n" if 2 * content.count(b"\r\n") > content.count(b"\n") else b"\n"
    text = new.encode().replace(b"\r\n", b"\n")

    def replacement(match: re.Match[bytes]) -> bytes:
        found = match.group()
        end = b"\r\n" if b"\r\n" in found else b"\n" if b"\n" in found else usual
        return text.replace(b"\n", end)

    found = len(pattern.findall(content))
    if not found:
        raise TextNotFoundError("old does not occur in the file; read it again.")
    if found > 1 and not every:
        raise TextNotUniqueError(f"old occurs {found} times; give more context or replace_all.")
    return pattern.sub(replacement, content), found
