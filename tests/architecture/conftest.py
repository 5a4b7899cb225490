"""The repository as the architecture tests see it."""

from __future__ import annotations

from pathlib import Path

import pytest

_NOT_OURS = {"build", "dist", "__pycache__"}


@pytest.fixture(scope="session")
def root() -> Path:
    return Path(__file__).parents[2]


@pytest.fixture(scope="session")
def texts(root) -> dict[Path, str]:
    """Every text file of the repository, by its path in it."""
    found = {}
    for path in sorted(root.rglob("*")):
        parts = path.relative_to(root).parts
        # Hidden at the top: the environment, git's own files, caches. Ours there is .ci alone.
        hidden = parts[0].startswith(".") and parts[0] != ".ci"
        if hidden or _NOT_OURS.intersection(parts) or not path.is_file():
            continue
        found[path.relative_to(root)] = path.read_text(encoding="utf-8")
    return found
