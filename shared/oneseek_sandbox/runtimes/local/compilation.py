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

# Without docstrings and annotations, which an idle sandbox would hold for ever.
_COMPILE: Final = """
import ast, sys, marshal
from importlib.util import MAGIC_NUMBER
target, name = sys.argv[1:]
tree = ast.parse(sys.stdin.buffer.read())
for node in ast.walk(tree):
    if isinstance(node, ast.arg):
        node.annotation = None
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        node.returns = None
code = compile(tree, name, "exec", dont_inherit=True, optimize=2)
with open(target, "wb") as file:
    file.write(MAGIC_NUMBER + bytes(12) + marshal.dumps(code))
"""
_COMPILE_SECONDS: Final = 60


def compiled(name: str, source: bytes, interpreter: str, folder: Path) -> Path:
    """Return `source` compiled by `interpreter`, from `folder` if it was done before.

    Args:
        name: What tracebacks call it.

    Raises:
        SandboxStartError: The interpreter refused it.
    """
    program = Path(interpreter).stat()
    # A package upgrade changes source and interpreter under a running server.
    identity = f"{program.st_ino} {program.st_mtime_ns} {interpreter}".encode()
    digest = hashlib.sha256(identity + b"\0" + source).hexdigest()[:24]
    target = folder / f"{digest}.pyc"
    if target.exists():
        return target
    temporary = folder / f".{digest}.{uuid.uuid4().hex[:8]}"
    command = [interpreter, "-I", "-S", "-E", "-c", _COMPILE]
    result = subprocess.run(
        [*command, str(temporary), name],
        input=source,
        capture_output=True,
        timeout=_COMPILE_SECONDS,
        check=False,
    )
    if result.returncode != 0:
        reason = result.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        raise SandboxStartError(f"{interpreter} cannot compile {name}: {reason}")
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
