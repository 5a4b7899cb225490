"""Programs for sandboxes, compiled once: parsing the worker at each start costs 50 ms."""

from __future__ import annotations

import hashlib
import subprocess
import uuid
from pathlib import Path
from typing import Final

from oneseek_sandbox.durable import sync_file
from oneseek_sandbox.errors import SandboxStartError

__all__ = ["compiled"]

_COMPILE: Final = (
    "import sys, py_compile as p;"
    "p.compile(sys.argv[1], cfile=sys.argv[2], dfile=sys.argv[3], doraise=True, optimize=2)"
)
_COMPILE_SECONDS: Final = 60


def compiled(source: Path, interpreter: str, folder: Path) -> Path:
    """Return `source` compiled by `interpreter`, from `folder` if it was done before.

    Raises:
        SandboxStartError: The interpreter refused it.
    """
    program = Path(interpreter).stat()
    # A package upgrade changes source and interpreter under a running server.
    identity = f"{program.st_ino} {program.st_mtime_ns} {interpreter}".encode()
    name = hashlib.sha256(identity + b"\0" + source.read_bytes()).hexdigest()[:24]
    target = folder / f"{name}.pyc"
    if target.exists():
        return target
    temporary = folder / f".{name}.{uuid.uuid4().hex[:8]}"
    command = [interpreter, "-I", "-S", "-E", "-c", _COMPILE]
    result = subprocess.run(
        [*command, str(source), str(temporary), source.name],
        capture_output=True,
        timeout=_COMPILE_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        reason = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SandboxStartError(f"{interpreter} cannot compile {source.name}: {reason}")
    temporary.chmod(0o644)
    # A power cut could leave the name with nothing in it, and no sandbox would start any more.
    sync_file(temporary)
    try:
        # Never replaced: a file that another start has open could not be bind-mounted any more.
        target.hardlink_to(temporary)
    except FileExistsError:
        pass
    finally:
        temporary.unlink()
    return target
