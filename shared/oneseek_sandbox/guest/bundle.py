"""Makes one file of the worker's modules, since a sandbox is given one file.

The first module is taken as it is; of the others what stands above the first definition is left
out: docstring, imports and `if TYPE_CHECKING`. Names must therefore be unique among the modules.
"""

from __future__ import annotations

import functools
from pathlib import Path

__all__ = ["WORKER", "bundle"]

WORKER = (
    "prelude",
    "base",
    "scheduler",
    "kernel",
    "fields",
    "connection",
    "http",
    "paths",
    "drafts",
    "survey",
    "files",
    "writing",
    "listing",
    "disk",
    "processes",
    "capture",
    "command_spec",
    "shell",
    "monitor",
    "output",
    "command",
    "commands",
    "once",
    "options",
    "claim",
    "server",
    "relay",
    "main",
)
"""The worker's modules in the order of the file."""

_FOLDER = Path(__file__).parent
_HEADER = ("import ", "from ", "if TYPE_CHECKING:", "else:", "__all__", " ", ")", "]", "\n")


@functools.cache
def bundle() -> bytes:
    """Return the worker as one file of the standard library only."""
    first, *rest = ((_FOLDER / "worker" / f"{name}.py").read_text("utf-8") for name in WORKER)
    bodies = (_body_of(text).strip("\n") for text in rest)
    first = first.partition("__all__")[0].strip("\n") + "\n"
    return (first + "\n" + "\n\n\n".join(bodies) + "\n").encode()


def _body_of(text: str) -> str:
    """Return a module without what stands above its first definition."""
    lines = text.splitlines(keepends=True)
    above = 1
    while lines[above - 1].count('"""') == 0 or (above == 1 and lines[0].count('"""') == 1):
        above += 1  # the docstring
    while lines[above].startswith(_HEADER):
        above += 1
    return "".join(lines[above:])
