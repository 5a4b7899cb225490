"""Measures processes on a server of its own: starting one, hearing of it, and what they cost memory."""

from __future__ import annotations

import argparse
import asyncio
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx
from run import (
    THREAD,
    print_figures,
    processes_by_parent,
    proportional_kibibytes,
    running_server,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from oneseek_sandbox.testing.server import LiveServer

MEBIBYTE = 1024 * 1024
CLOCK = """
import sys, time
for _ in range(int(sys.argv[1])):
    print(time.time_ns(), flush=True)
    time.sleep(0.03)
"""


class Caller:
    """The verbs, from any number of tasks."""

    def __init__(self, server: LiveServer) -> None:
        self.client = httpx.AsyncClient(
            base_url=server.url, headers={"authorization": f"Bearer {server.key}"}, timeout=600
        )

    async def call(self, verb: str, **fields: Any) -> httpx.Response:  # noqa: ANN401
        """Call a verb for THREAD."""
        return await self.client.post(f"/v1/sandbox/{verb}", json={"thread_id": THREAD, **fields})

    async def start(self, request_id: str, command: list[str]) -> None:
        """Start a process, and leave it."""
        answer = await self.call("execute", request_id=request_id, command=command, background=True)
        assert answer.status_code == 200, answer.text


async def compare_starts(caller: Caller, rounds: int) -> dict[str, list[float]]:
    """Run a program and start it, in turns; returns milliseconds."""
    figures: dict[str, list[float]] = {"execute": [], "background": []}
    for turn in range(rounds):
        for name, took in figures.items():
            fields = {"background": True, "request_id": f"turn-{turn}"}
            started = time.perf_counter_ns()
            answer = await caller.call(
                "execute", command=["true"], **fields if name == "background" else {}
            )
            took.append((time.perf_counter_ns() - started) / 1e6)
            assert answer.status_code == 200, answer.text
            await asyncio.sleep(0.02)
    return figures


async def measure_lines(caller: Caller, lines: int) -> list[float]:
    """Return how long after it was printed a line reaches a reader, in milliseconds."""
    await caller.start("clock", ["python3", "-c", CLOCK, str(lines)])
    took = []
    request = {"thread_id": THREAD, "request_id": "clock", "wait_seconds": 60}
    async with caller.client.stream(
        "POST", "/v1/sandbox/attach", json=request, headers={"accept": "text/event-stream"}
    ) as answer:
        async for line in answer.aiter_lines():
            if line.startswith("data:") and "text" in (data := json.loads(line[5:])):
                now = time.time_ns()
                took += [(now - int(printed)) / 1e6 for printed in data["text"].split()]
    return took


async def measure_ended(caller: Caller, worker: Callable[[], int], count: int) -> float:
    """Return the MiB that so many ended processes take of the worker."""
    before = proportional_kibibytes(worker())
    for number in range(count):
        answer = await caller.call("execute", command=["true"], request_id=f"ended-{number}")
        assert answer.status_code == 200, answer.text
    return (proportional_kibibytes(worker()) - before) / 1024


class Peak:
    """The most memory that processes have at a time, in MiB; looked at all the time."""

    def __init__(self, **pids: int) -> None:
        self._pids = pids
        self.mebibytes = dict.fromkeys(pids, 0.0)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.005):
            for name, pid in self._pids.items():
                seen = proportional_kibibytes(pid) / 1024
                self.mebibytes[name] = max(seen, self.mebibytes[name])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


async def print_at_once(caller: Caller, callers: int, size: int) -> int:
    """Let so many commands print so much at once; returns how often one was told to come later."""
    later = 0

    async def run() -> None:
        nonlocal later
        while True:
            answer = await caller.call(
                "execute",
                command="head -c $SIZE /dev/zero | tee /dev/stderr",
                env={"SIZE": str(size)},
                max_output_bytes=size,
            )
            if answer.status_code != 503:
                break
            later += 1
            await asyncio.sleep(0.05)
        assert answer.status_code == 200, answer.text
        assert answer.text.count("\\u0000") == 2 * size, "it takes six times as much in escapes"

    await asyncio.gather(*(run() for _ in range(callers)))
    return later


def worker_of(server: LiveServer) -> int:
    """Return the process of the only sandbox's worker."""
    (status,) = server.home.glob("sandboxes/*/status")
    tree = [json.loads(status.read_text().splitlines()[0])["monitor-pid"]]
    children = processes_by_parent()
    for pid in tree:
        if Path(f"/proc/{pid}/comm").read_text() == "sandbox-worker\n":
            return int(pid)
        tree += children.get(pid, [])
    raise AssertionError("a sandbox without a worker")


async def run(server: LiveServer, rounds: int) -> None:
    caller = Caller(server)
    (await caller.call("acquire")).raise_for_status()
    starts = await compare_starts(caller, rounds)
    lines = await measure_lines(caller, rounds)
    ended = await measure_ended(caller, lambda: worker_of(server), 1000)
    assert server.process is not None
    with Peak(worker=worker_of(server), server=server.process.pid) as peak:
        later = await print_at_once(caller, 16, 10 * MEBIBYTE)
    await caller.client.aclose()
    ratios = [b / e for b, e in zip(starts["background"], starts["execute"], strict=True)]
    print_figures(
        [
            ("execute of true", starts["execute"], "ms", ""),
            ("start of it in the background", starts["background"], "ms", ""),
            ("  background / execute", ratios, "×", "≤ 1.2"),
            ("a line, from print to reader", lines, "ms", "≤ 20"),
            ("worker: 1 000 ended processes", [ended], "MiB", "≤ 4"),
            ("worker: 16 × 2 × 10 MiB printed at once", [peak.mebibytes["worker"]], "MiB", "≤ 16"),
            ("server: the same", [peak.mebibytes["server"]], "MiB", "≤ 256"),
            ("  told to come later (503)", [float(later)], "times", ""),
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure processes on a private server.")
    parser.add_argument("--rounds", type=int, default=200)
    given = parser.parse_args()
    with running_server() as server:
        asyncio.run(run(server, given.rounds))


if __name__ == "__main__":
    main()
