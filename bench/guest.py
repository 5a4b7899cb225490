"""Compare the worker of this tree with another file: size, start, memory; medians side by side.

    git show COMMIT:PATH/worker.py > before.py
    .venv/bin/python bench/guest.py before.py [ROUNDS]

A start is from the command to the first answer; from source, and from bytecode, as on this machine.
Of a start the processor's time is shown as well: a busy machine changes it less.
"""

from __future__ import annotations

import py_compile
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.runtimes.local.compilation import compiled

REQUEST = b"GET /proof?nonce=0123456789abcdef HTTP/1.1\r\nhost: worker\r\n\r\n"


def measured(program: Path, folder: Path) -> tuple[float, float, float]:
    """Return milliseconds until the first answer, those on a processor, and private KiB when idle."""
    path = folder / "socket"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        began = time.perf_counter()
        command = [sys.executable, "-I", "-S", "-E", str(program)]
        command += ["--listen-fd", str(listener.fileno()), "--workspace", str(folder)]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
        client.sendall(REQUEST)
        assert client.recv(4096).startswith(b"HTTP/1.1 200")
        took = 1000 * (time.perf_counter() - began)
    on_processor = int(Path(f"/proc/{process.pid}/schedstat").read_text().split()[0]) / 1e6
    rollup = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    private = sum(int(line.split()[1]) for line in rollup if line.startswith("Private_"))
    process.kill()
    process.wait()
    path.unlink()
    return took, on_processor, private


def main() -> None:
    """Measure in turns, so that what else the machine does falls on both."""
    before = Path(sys.argv[1]).read_bytes()
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 30
    folder = Path(tempfile.mkdtemp())
    programs = {"before": before, "now": bundle("worker")}
    files, found = {}, {}
    for name, source in programs.items():
        files[name, "source"] = folder / f"{name}.py"
        files[name, "source"].write_bytes(source)
    files["before", "bytecode"] = folder / "before.pyc"
    py_compile.compile(
        str(files["before", "source"]), cfile=str(files["before", "bytecode"]), optimize=2
    )
    files["now", "bytecode"] = compiled("worker.py", programs["now"], sys.executable, folder)
    for turn in range(rounds):
        for which in sorted(files, reverse=bool(turn % 2)):
            found.setdefault(which, []).append(measured(files[which], folder))
    for name, source in programs.items():
        print(f"{name:7} {len(source)} bytes", end="")
        for form in ("source", "bytecode"):
            starts, busy, sizes = zip(*found[name, form], strict=True)
            print(
                f"; from {form}: {statistics.median(starts):.1f} ms "
                f"({statistics.median(busy):.1f} ms busy), {statistics.median(sizes):.0f} KiB",
                end="",
            )
        print()


if __name__ == "__main__":
    main()
