"""A bubblewrap that every user can start, wherever this checkout lies."""

from __future__ import annotations

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from oneseek_sandbox.runtimes.local.bwrap_program import (
    bwrap_candidates,
    parts_to_stage,
    staged_program,
)

__all__ = ["bubblewrap"]


@functools.cache
def bubblewrap() -> str:
    """Return the system's, or a copy of the wheel's where everybody may pass."""
    program = bwrap_candidates()[0]
    stage = Path(tempfile.mkdtemp(prefix="bwrap-"))
    atexit.register(shutil.rmtree, stage, ignore_errors=True)
    stage.chmod(0o755)
    for name, part in parts_to_stage(program).items():
        copy = shutil.copytree if Path(part).is_dir() else shutil.copy2
        copy(part, stage / name)
    return staged_program(program, str(stage))
