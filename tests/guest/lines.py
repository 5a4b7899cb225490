"""Which lines of the worker's modules ran in its real processes, for `make coverage`."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from bisect import bisect
from pathlib import Path

from oneseek_sandbox import guest

__all__ = ["FOLDER", "add_to", "keep", "record"]

FOLDER = os.environ.get("ONESEEK_LINES_FOLDER")
"""Where the lines are kept that ran; without it nobody wants to know."""

_RECORDER = Path(__file__).with_name("recorder.py")

_MODULES = Path(guest.__file__).parent / "worker"
_kept: set[str] = set()  # by this process


def record(folder: Path, program: bytes, python: str) -> None:
    """Have this interpreter run the program in worker.py with a recorder, by whichever user."""
    (folder / "original.py").write_bytes(program)
    (folder / "code").write_bytes(_compiled(program, python))
    (folder / "worker.py").write_bytes(_RECORDER.read_bytes())
    ran = folder / "lines"
    ran.write_bytes(bytes(program.count(b"\n") + 2))
    ran.chmod(0o666)


@functools.cache
def _compiled(program: bytes, python: str) -> bytes:
    """Return the program as the interpreter's code: compiling takes memory, which tests bound."""
    script = "import marshal, sys; read, write = sys.stdin.buffer.read, sys.stdout.buffer.write\n"
    script += "write(marshal.dumps(compile(read(), 'worker', 'exec')))"
    command = [python, "-I", "-S", "-c", script]
    return subprocess.run(command, input=program, capture_output=True, check=True).stdout


def keep(folder: Path) -> None:
    """Keep which lines ran in this folder's worker: `MODULE LINE` each, as the bundle's table says."""
    program = (folder / "original.py").read_text("utf-8")
    words = re.search(r"(?m)^MODULE_LINES = '(.*)'$", program)[1].split()
    begins = [int(word) for word in words[::3]]
    ran = (folder / "lines").read_bytes()
    found = set()
    for line in (line for line, has_run in enumerate(ran) if has_run and line >= begins[0]):
        index = bisect(begins, line) - 1
        own = line - begins[index] + int(words[3 * index + 1])
        found.add(f"{words[3 * index + 2]} {own}\n")
    with open(Path(FOLDER) / str(os.getpid()), "a") as file:
        file.writelines(found - _kept)
    _kept.update(found)


def add_to(data_file: str, kept: Path) -> None:
    """Add what was kept in a folder to a file of coverage's data."""
    entries = {entry for file in kept.iterdir() for entry in file.read_text().splitlines()}
    lines: dict[str, set[int]] = {}
    for module, line in map(str.split, entries):
        lines.setdefault(str(_MODULES / f"{module}.py"), set()).add(int(line))
    from coverage import CoverageData

    data = CoverageData(data_file)
    data.read()
    data.add_lines(lines)
    data.write()


if __name__ == "__main__":
    add_to(sys.argv[1], Path(sys.argv[2]))
