"""How long the command line takes from start to end, beside that of another checkout of it.

Starts a server of its own. The checkouts take turns, and the ratio is the median of the pairs': a
busy minute hits both.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from oneseek_sandbox.testing.server import LiveServer

HERE = Path(__file__).parents[1]
KEY = "key-of-the-benchmark"
COMMANDS = {"--help": ["--help"], "--version": ["--version"], "status": ["status"]}


def seconds(checkout: Path, command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run a command of a checkout; return its seconds, and those of a processor."""
    program = [sys.executable, "-m", "oneseek_sandbox.cli", *command]
    environment = environment | {"PYTHONPATH": str(checkout / "shared")}
    before, began = processor_seconds(), time.perf_counter()
    subprocess.run(program, env=environment, capture_output=True, check=True)
    return time.perf_counter() - began, processor_seconds() - before


def processor_seconds() -> float:
    """Return what all processes that ended here have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def measure(checkouts: list[Path], rounds: int, environment: dict[str, str]) -> None:
    """Print a line for each command and checkout."""
    for name, command in COMMANDS.items():
        took: dict[Path, list[tuple[float, float]]] = {checkout: [] for checkout in checkouts}
        for number in range(-1, rounds):
            for checkout in checkouts:
                times = seconds(checkout, command, environment)
                if number >= 0:  # the first compiles
                    took[checkout].append(times)
        for checkout in checkouts:
            label = "here" if checkout == HERE else checkout.name
            wall, used = (
                1000 * statistics.median(kind) for kind in zip(*took[checkout], strict=True)
            )
            ratios = [
                mine[0] / first[0]
                for mine, first in zip(took[checkout], took[checkouts[0]], strict=True)
            ]
            print(
                f"{name:10} {label:8} {wall:6.0f} ms, {used:4.0f} ms of a processor, "
                f"{statistics.median(ratios):.2f} ×"
            )


def main() -> None:
    """Measure this checkout, and another one before it in each turn."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--beside", type=Path, help="another checkout; the ratios are to it")
    options = parser.parse_args()
    others = [] if options.beside is None else [options.beside.resolve()]
    with tempfile.TemporaryDirectory() as folder, LiveServer(Path(folder), key=KEY) as server:
        reached = {"ONESEEK_SANDBOX_URL": server.url, "ONESEEK_SANDBOX_KEY": KEY}
        measure([*others, HERE], options.rounds, os.environ | reached)


if __name__ == "__main__":
    main()
