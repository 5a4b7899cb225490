"""Measures a server of its own in one run, and prints the aims beside the figures.

What is compared is measured in turns, so that a busy minute of the machine hits both.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import platform
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from rich.console import Console
from rich.table import Table

from oneseek_sandbox.control.assembly import build_store
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.server import LiveServer, free_port
from oneseek_sandbox.workers.client import WorkerClient

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from oneseek_sandbox.leases.store import Lease

FUNCTIONS = Path(__file__).parents[1] / "functions"
THREAD = "bench"
COMMAND = {"command": ["sh", "-c", "true"]}
BLOCK = 10
SETTLE_SECONDS = 0.1
PAUSE_SECONDS = 0.05

Figures = dict[str, list[float]]


class Gateway:
    """The verbs over one kept connection, as an agent's client has it."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def call(self, verb: str, **fields: object) -> dict[str, Any]:
        """Call a verb; anything but an answer ends the run."""
        response = self._client.post(f"/v1/sandbox/{verb}", json=fields)
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        return answer

    def execute(self) -> None:
        """Run the command that everything is compared by."""
        assert self.call("execute", thread_id=THREAD, **COMMAND)["exit_code"] == 0


def milliseconds(action: Callable[[], object]) -> float:
    started = time.perf_counter_ns()
    action()
    return (time.perf_counter_ns() - started) / 1e6


def measure_executes(
    gateway: Gateway, server: LiveServer, rounds: int, pause_seconds: float
) -> Figures:
    """Compare a bare process with the same command through the worker, and through the gateway.

    They take turns in blocks, so that what one leaves to be done is not counted to the next.

    Args:
        pause_seconds: Before each call: an agent calls now and then, a load back to back.
    """
    figures: Figures = {"bare": [], "worker": [], "gateway": []}
    settings = Settings.from_environment(server.environment)

    async def run() -> None:
        store, workers = build_store(settings), WorkerClient()
        await store.open()
        lease = await store.get(Thread("default", THREAD))
        assert lease is not None
        actions = {
            "bare": lambda: subprocess.run(COMMAND["command"], check=True),
            "worker": lambda: execute_directly(workers, lease),
            "gateway": gateway.execute,
        }
        for _ in range(max(1, rounds // BLOCK)):
            for name, action in actions.items():
                await asyncio.sleep(SETTLE_SECONDS)
                for turn in range(BLOCK + 1):
                    await asyncio.sleep(pause_seconds)
                    started = time.perf_counter_ns()
                    if asyncio.iscoroutine(doing := action()):
                        await doing
                    if turn:
                        figures[name].append((time.perf_counter_ns() - started) / 1e6)
        await workers.close()
        await store.close()

    asyncio.run(run())
    return figures


async def execute_directly(workers: WorkerClient, lease: Lease) -> None:
    limits = {"timeout_ms": 30_000, "grace_ms": 2000, "max_output_bytes": 100_000}
    async for _ in workers.execute(lease, {**COMMAND, **limits, "stream": False}):
        pass


def measure_acquires(gateway: Gateway, rounds: int) -> Figures:
    """Make sandboxes and take them again, in turns."""
    figures: Figures = {"new": [], "reuse": []}
    for turn in range(rounds):
        thread = f"new-{turn}"
        for name in figures:
            took = milliseconds(lambda thread=thread: gateway.call("acquire", thread_id=thread))
            figures[name].append(took)
        gateway.call("release", thread_id=thread)
    return figures


def measure_function_start(server: LiveServer, rounds: int) -> list[float]:
    """Start the function `execute` as its own process, up to its first answer."""
    return [milliseconds_to_first_answer(server) for _ in range(rounds)]


def milliseconds_to_first_answer(server: LiveServer) -> float:
    port = free_port()
    program = [sys.executable, "-m", "uvicorn", "functions_framework.aio:app", "--lifespan", "on"]
    settings = {
        "FUNCTION_SOURCE": str(FUNCTIONS / "execute" / "main.py"),
        "FUNCTION_TARGET": "execute",
    }
    url = f"http://127.0.0.1:{port}/v1/sandbox/execute"
    with server.client() as client:
        started = time.perf_counter_ns()
        process = subprocess.Popen(
            [*program, "--port", str(port), "--log-level", "warning"],
            env=server.environment | settings,
        )
        try:
            while process.poll() is None:
                try:
                    answer = client.post(url, json={"thread_id": THREAD, **COMMAND})
                except httpx.ConnectError:
                    time.sleep(0.002)
                    continue
                answer.raise_for_status()
                return (time.perf_counter_ns() - started) / 1e6
            raise RuntimeError("the function's process ended before it answered")
        finally:
            process.terminate()
            process.wait()


def idle_mebibytes(gateway: Gateway, server: LiveServer, count: int) -> list[float]:
    """Return the proportional memory of idle sandboxes, each with all its processes."""
    threads = [f"idle-{number}" for number in range(count)]
    for thread in threads:
        gateway.call("acquire", thread_id=thread)
        gateway.call("execute", thread_id=thread, **COMMAND)
    # What a command leaves to be reaped is gone by then.
    time.sleep(1)
    children = processes_by_parent()
    figures = []
    for status in server.home.glob("sandboxes/*/status"):
        monitor = json.loads(status.read_text().splitlines()[0])["monitor-pid"]
        tree = [monitor]
        for pid in tree:
            tree += children.get(pid, [])
        assert len(tree) > 1, "a sandbox without worker"
        figures.append(sum(map(proportional_kibibytes, tree)) / 1024)
    for thread in threads:
        gateway.call("release", thread_id=thread)
    return figures


def processes_by_parent() -> dict[int, list[int]]:
    """Return the children of every process of this machine."""
    children: dict[int, list[int]] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            parent = int(path.read_text(errors="replace").rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(path.parent.name))
    return children


def proportional_kibibytes(pid: int) -> int:
    """Return a process's memory, with its share of what it shares."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    (line,) = (line for line in text.splitlines() if line.startswith("Pss:"))
    return int(line.split()[1])


@contextlib.contextmanager
def running_server(**options: Any) -> Iterator[LiveServer]:  # noqa: ANN401 - those of LiveServer
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="bench") as folder:
        Path(folder).chmod(0o755)
        with LiveServer(Path(folder), key=secrets.token_hex(), **options) as server:
            yield server


def print_figures(rows: list[tuple[str, list[float], str, str]]) -> None:
    table = Table("what", "median", "10 % – 90 %", "unit", "aim", box=None, pad_edge=False)
    for what, figures, unit, aim in rows:
        ordered = sorted(figures)
        low, high = ordered[len(ordered) // 10], ordered[-1 - len(ordered) // 10]
        spread = f"{low:.1f} – {high:.1f}" if len(ordered) > 1 else ""
        table.add_row(what, f"{statistics.median(ordered):.1f}", spread, unit, aim)
    Console(highlight=False).print(table)


def execute_rows(name: str, figures: Figures) -> list[tuple[str, list[float], str, str]]:
    bare = statistics.median(figures["bare"])
    ratios = {key: [figure / bare for figure in figures[key]] for key in ("worker", "gateway")}
    return [
        (f"bare subprocess: sh -c true, {name}", figures["bare"], "ms", ""),
        ("execute of it, at the worker", figures["worker"], "ms", ""),
        ("execute of it, through the gateway", figures["gateway"], "ms", ""),
        ("  worker / bare", ratios["worker"], "×", ""),
        ("  gateway / bare", ratios["gateway"], "×", "≤ 8"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a private server.")
    parser.add_argument("--rounds", type=int, default=100, help="turns of the short operations")
    rounds = parser.parse_args().rounds
    few = max(3, rounds // 10)
    with running_server() as server, server.client() as client:
        gateway = Gateway(client)
        gateway.call("acquire", thread_id=THREAD)
        acquires = measure_acquires(gateway, max(5, rounds // 3))
        executes = {
            name: measure_executes(gateway, server, rounds, pause)
            for name, pause in (("now and then", PAUSE_SECONDS), ("back to back", 0.0))
        }
        starts = measure_function_start(server, few)
        idle = idle_mebibytes(gateway, server, few)
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}\n")
    print_figures(
        [
            *(row for name, figures in executes.items() for row in execute_rows(name, figures)),
            ("acquire of a new sandbox", acquires["new"], "ms", "≤ 100"),
            ("acquire again", acquires["reuse"], "ms", "≤ 5"),
            ("function execute: start to first answer", starts, "ms", "≤ 500"),
            ("idle sandbox", idle, "MiB", "≤ 10"),
        ]
    )


if __name__ == "__main__":
    main()
