"""What noisy neighbours cost: `execute true` in one sandbox, with and without three others at work.

Quiet and noisy blocks take turns, so that a busy minute of the machine hits both. The neighbours
fork, use every core, and fill their memory; one that writes and syncs is measured apart.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from oneseek_sandbox.testing.server import LiveServer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

MEASURED = "measured"
APART = Path("/sys/fs/cgroup/cpu/oneseek-measurement")
LIMITS = {"PROVISIONER_PROCESS_LIMIT": "128", "PROVISIONER_MEMORY_LIMIT_MB": "256"}
BLOCK = 50
NEIGHBOUR_SECONDS = 120
SETTLE_SECONDS = 1.0

FORKING = "exec python3 -c 'import os\nwhile True:\n try: os.fork()\n except OSError: pass'"
BURNING = "for core in $(seq $(nproc)); do while :; do :; done & done; wait"
FILLING = (
    "while :; do python3 -c 'held = []\nwhile True: held.append(bytearray(1 << 20))'"
    " 2>/dev/null; done"
)
SYNCING = "while :; do dd if=/dev/zero of=file bs=1M count=64 conv=fsync 2>/dev/null; done"

NEIGHBOURS = {
    "forking, burning, filling": (FORKING, BURNING, FILLING),
    "writing and syncing": (SYNCING,),
}

Figures = dict[str, list[float]]


def execute(client: httpx.Client, **fields: object) -> dict[str, object]:
    """Call execute; anything but an answer ends the run."""
    response = client.post("/v1/sandbox/execute", json=fields)
    response.raise_for_status()
    answer: dict[str, object] = response.json()
    return answer


@contextlib.contextmanager
def noise(server: LiveServer, commands: tuple[str, ...]) -> Iterator[None]:
    """Keep each command running in a sandbox of its own, until all of it is ended."""

    def keep_running(thread: str, command: str) -> None:
        with server.client() as client:
            client.timeout = NEIGHBOUR_SECONDS + 30
            execute(client, thread_id=thread, command=command, timeout_seconds=NEIGHBOUR_SECONDS)

    threads = [f"neighbour-{number}" for number in range(len(commands))]
    with server.client() as client:
        for thread in threads:
            client.post("/v1/sandbox/acquire", json={"thread_id": thread}).raise_for_status()
        running = [
            threading.Thread(target=keep_running, args=pair)
            for pair in zip(threads, commands, strict=True)
        ]
        for one in running:
            one.start()
        time.sleep(SETTLE_SECONDS)
        try:
            yield
        finally:
            for thread in threads:
                execute(client, thread_id=thread, cancel="*")
            for one in running:
                one.join()


def measure_block(client: httpx.Client, figures: list[float]) -> None:
    """Add the milliseconds of some calls, the first of a block left out."""
    for turn in range(BLOCK + 1):
        started = time.perf_counter_ns()
        answer = execute(client, thread_id=MEASURED, command="true")
        assert answer["exit_code"] == 0
        if turn:
            figures.append((time.perf_counter_ns() - started) / 1e6)


def measure(server: LiveServer, commands: tuple[str, ...], count: int) -> Figures:
    """Return the milliseconds of `count` calls while it is quiet, and as many while it is not."""
    figures: Figures = {"quiet": [], "noisy": []}
    with server.client() as client:
        client.post("/v1/sandbox/acquire", json={"thread_id": MEASURED}).raise_for_status()
        while len(figures["quiet"]) < count:
            measure_block(client, figures["quiet"])
            with noise(server, commands):
                measure_block(client, figures["noisy"])
            time.sleep(SETTLE_SECONDS)
    return figures


def p99(figures: list[float]) -> float:
    return statistics.quantiles(figures, n=100)[98]


@contextlib.contextmanager
def running_server() -> Iterator[LiveServer]:
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        Path(folder).chmod(0o755)
        with LiveServer(Path(folder), key=secrets.token_hex(), settings=LIMITS) as server:
            yield server


def outweigh_others(shares: int) -> None:
    """Go, with all that is started from here, where what else the machine does disturbs less."""
    APART.mkdir(exist_ok=True)
    (APART / "cpu.shares").write_text(str(shares))
    (APART / "cgroup.procs").write_text("0")


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure what noisy neighbours cost.")
    parser.add_argument("--count", type=int, default=2000, help="calls of each kind")
    parser.add_argument(
        "--shares", type=int, help="do it in a control group (version 1) of so many shares"
    )
    parser.add_argument(
        "--gate", type=float, help="measure only what has an aim, and fail above this p99 ratio"
    )
    options = parser.parse_args()
    table = Table("neighbours", "", "median", "p99", "unit", "aim", box=None, pad_edge=False)
    worst = 0.0
    if options.shares:
        outweigh_others(options.shares)
    with running_server() as server:
        for name, commands in NEIGHBOURS.items():
            bounded = commands != (SYNCING,)
            if options.gate is not None and not bounded:
                continue
            figures = measure(server, commands, options.count)
            for kind, values in figures.items():
                table.add_row(
                    name, kind, f"{statistics.median(values):.1f}", f"{p99(values):.1f}", "ms", ""
                )
            ratio = p99(figures["noisy"]) / p99(figures["quiet"])
            table.add_row(name, "p99 ratio", "", f"{ratio:.1f}", "×", "≤ 4" if bounded else "")
            worst = max(worst, ratio if bounded else 0.0)
    print(f"{os.cpu_count()} cores, {options.count} calls of each kind\n")
    Console(highlight=False).print(table)
    return 1 if options.gate is not None and worst > options.gate else 0


if __name__ == "__main__":
    sys.exit(main())
