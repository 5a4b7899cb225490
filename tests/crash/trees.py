"""Trees of earlier commits of this repository, for servers and sandboxes that run their code.

Where its history is not at hand, as in a copy of the tree, a variable names a tar file that
`git archive` made of each.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

EARLIER = "264c8147f"
LAST_RELEASE = "1e807e7"
VARIABLES = {EARLIER: "ONESEEK_EARLIER_TREE", LAST_RELEASE: "ONESEEK_LAST_RELEASE_TREE"}
ROOT = Path(__file__).parents[2]
PACKAGE = Path("shared", "oneseek_sandbox")


def unpack(commit: str, folder: Path) -> Path:
    """Put what is in `shared` at a commit into a folder, and return that `shared`."""
    variable = VARIABLES[commit]
    if given := os.environ.get(variable):
        archive = Path(given).read_bytes()
    else:
        git = ["git", "-C", str(ROOT), "-c", "safe.directory=*", "archive", commit, "shared"]
        try:
            archive = subprocess.run(git, check=True, capture_output=True).stdout
        except (OSError, subprocess.CalledProcessError):
            pytest.skip(f"commit {commit} is not at hand, and {variable} not set")
    # Not tarfile: its filters, without which newer Pythons warn, came with 3.11.4.
    subprocess.run(["tar", "-x", "-C", str(folder)], input=archive, check=True)
    return folder / "shared"


def with_worker_of(server: Path, sandbox: Path, folder: Path) -> Path:
    """Return a `shared` whose server side is of one tree, and what runs in a sandbox of another."""
    mixed = folder / "shared" / PACKAGE.name
    without = shutil.ignore_patterns("__pycache__", "guest")
    shutil.copytree(server / PACKAGE.name, mixed, ignore=without)
    shutil.copytree(sandbox / PACKAGE.name / "guest", mixed / "guest")
    return mixed.parent
