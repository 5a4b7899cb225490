from __future__ import annotations

from dataclasses import dataclass

# Some of them.
IGNORE_PATTERNS = [".git", "node_modules", "__pycache__", "*.log"]


@dataclass(frozen=True)
class GrepMatch:
    path: str
    line_number: int
    line: str
