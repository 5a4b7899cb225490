"""Makes one file of a program's modules: a sandbox is given one file, of the standard library only.

A module goes into the file without comments, docstrings, and what stands above and in its `__all__`;
the imports of the standard library are put together at the top. So names are unique among a
program's modules, and nothing is imported `as` something else. On top stands a table, MODULE_LINES:
the line of the file where each module begins, which line of the module that is, and its name.

The same modules make the same bytes everywhere: their hash names a ConfigMap and an image layer.
"""

from __future__ import annotations

import functools
import re
from pathlib import Path

__all__ = ["PROGRAMS", "bundle"]

PROGRAMS = {
    "worker": (
        "base",
        "scheduler",
        "digest",
        "kernel",
        "fields",
        "connection",
        "http",
        "place",
        "paths",
        "reach",
        "drafts",
        "survey",
        "replacement",
        "writing",
        "listing",
        "files",
        "processes",
        "disk",
        "disks",
        "spool",
        "output",
        "stdin_pipe",
        "terminal",
        "command_spec",
        "process_log",
        "managed",
        "job",
        "shell",
        "monitor",
        "children",
        "ending",
        "command",
        "headroom",
        "commands",
        "once",
        "relay",
        "process_verbs",
        "options",
        "claim",
        "server",
        "worker",
        "main",
    ),
    "search": ("base", "patterns", "walk", "grep", "main"),
}
"""The modules of each program that has several, in the order of the file: each imports those above it only."""

_FOLDER = Path(__file__).parent
_IMPORT = re.compile(r"(?m)^(?:import|from (?!__future__|typing|oneseek_sandbox)\S+ import) .*\n")
_COMMENT = re.compile(r"(?m)^ *#.*|  # (?:noqa|type: ignore).*")
_DOCSTRING = re.compile(r'(?ms)^( +)""".*?"""$')


@functools.cache
def bundle(program: str) -> bytes:
    """Return a program as one file of the standard library only; one of one module as it is."""
    if program not in PROGRAMS:
        return (_FOLDER / f"{program}.py").read_bytes()
    imports: set[str] = set()
    bodies = []
    for module in PROGRAMS[program]:
        text = (_FOLDER / program / f"{module}.py").read_text("utf-8")
        above, _, rest = text.partition("\n__all__ = [")
        body = rest.partition("]\n")[2].lstrip("\n")
        own = text[: -len(body)].count("\n") + 1
        imports.update(_IMPORT.findall(above))
        bodies.append((module, own, _DOCSTRING.sub(_same_lines, _COMMENT.sub("", body))))
    lines = [f"# Made of the modules in oneseek_sandbox/guest/{program}/."]
    lines += ["from __future__ import annotations", *"".join(sorted(imports)).splitlines()]
    lines += ["TYPE_CHECKING = False", "MODULE_LINES = "]
    table_at = len(lines) - 1
    table: list[str] = []
    for module, own, body in bodies:
        lines += ["", f"# {module}.py"]
        table.append(f"{len(lines) + 1} {own} {module}")
        lines += body.splitlines()
    lines[table_at] += repr(" ".join(table))
    return "\n".join([*lines, ""]).encode()


def _same_lines(docstring: re.Match[str]) -> str:
    """Return an empty docstring with as many lines, so that those below keep their numbers."""
    return f'{docstring[1]}""' + "\n" * docstring[0].count("\n")
