"""What runs inside a sandbox stands on the standard library alone."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest

import oneseek_sandbox.guest

FOLDER = Path(oneseek_sandbox.guest.__file__).parent


def imported(path: Path) -> set[str]:
    """Return the modules that a module imports, for its types as well."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    found = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}


@pytest.mark.parametrize(
    "path", sorted(FOLDER.rglob("*.py")), ids=lambda path: str(path.relative_to(FOLDER))
)
def test_it_imports_the_standard_library_and_its_own_program_only(path: Path) -> None:
    program = ".".join(path.parent.relative_to(FOLDER.parents[1]).parts)
    own = f"{program}." if path.parent != FOLDER else None
    # Where CPython keeps SHA-256: `_sha2` since 3.12, `_sha256` before.
    known = sys.stdlib_module_names | {"_sha2", "_sha256"}
    foreign = {
        name
        for name in imported(path)
        if name.partition(".")[0] not in known and not (own and name.startswith(own))
    }
    assert foreign == set()
