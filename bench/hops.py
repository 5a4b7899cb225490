"""Measures what `execute` costs each process on its way, and how many calls a second there are.

The reference is the same program started by asyncio, without any of this. Another build is measured beside this one, in turns and in the same run:

    make bench ON=hops ARGS="--beside ../another-checkout"
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from rich.console import Console
from rich.table import Table
from run import running_server

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from oneseek_sandbox.testing.server import LiveServer

THREAD = "bench"
CALL: Final[dict[str, Any]] = {"thread_id": THREAD, "command": ["true"]}
PAUSE_SECONDS = 0.05
TICKS = os.sysconf("SC_CLK_TCK")

Figures = dict[str, list[float]]


class Connection:
    """One kept connection and nothing else, so that the client costs next to nothing."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server

    async def open(self) -> None:
        """Connect to the server."""
        self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._server.port)

    async def call(self, verb: str, **fields: object) -> None:
        """Call a verb; anything but an answer ends the run."""
        body = json.dumps(fields).encode()
        head = (
            f"POST /v1/sandbox/{verb} HTTP/1.1\r\nhost: bench\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {self._server.key}\r\ncontent-length: {len(body)}\r\n\r\n"
        )
        self._writer.write(head.encode() + body)
        answer = await self._reader.readuntil(b"\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 200"), answer
        (length,) = (
            int(line[15:]) for line in answer.split(b"\r\n") if line.startswith(b"content-length:")
        )
        await self._reader.readexactly(length)


def trees_of(server: LiveServer) -> dict[str, list[int]]:
    """Return the processes of each hop: the server, its store, and the sandbox of THREAD."""
    parents = dict(stat_of(path) for path in Path("/proc").glob("[0-9]*"))
    assert server.process is not None
    # The store and the sandboxes are made to outlive their server.
    (status,) = server.home.glob("sandboxes/*/status")
    sandbox = [json.loads(status.read_text().splitlines()[0])["monitor-pid"]]
    for pid in sandbox:
        sandbox += [child for child, parent in parents.items() if parent == pid]
    store = [int(path.read_text()) for path in server.home.glob("redis/*.pid")]
    return {"gateway": [server.process.pid], "store": store, "sandbox": sandbox}


def stat_of(path: Path) -> tuple[int, int]:
    """Return a process and its parent."""
    with contextlib.suppress(OSError):
        return int(path.name), int((path / "stat").read_text().rpartition(")")[2].split()[1])
    return int(path.name), 0


def processor_seconds(pids: list[int]) -> float:
    """Return what processes and the children that they have reaped took of the processor."""
    total = 0
    for pid in pids:
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15]))
    return total / TICKS


async def milliseconds(action: Callable[[], Awaitable[object]], count: int) -> list[float]:
    took = []
    for _ in range(count):
        started = time.perf_counter_ns()
        await action()
        took.append((time.perf_counter_ns() - started) / 1e6)
    return took


async def start_bare() -> None:
    process = await asyncio.create_subprocess_exec(
        *CALL["command"],
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    await process.communicate()


async def measure_one_by_one(server: LiveServer, calls: int) -> Figures:
    """Return milliseconds a call takes, and the processor milliseconds of each hop per call."""
    connection = Connection(server)
    await connection.open()
    figures: Figures = {"bare, back to back (ms)": await milliseconds(start_bare, calls)}

    async def execute() -> None:
        await connection.call("execute", **CALL)

    await execute()
    before = {name: processor_seconds(pids) for name, pids in trees_of(server).items()}
    figures["back to back (ms)"] = await milliseconds(execute, calls)
    after = {name: processor_seconds(pids) for name, pids in trees_of(server).items()}
    for name in before:
        figures[f"processor, {name} (ms)"] = [(after[name] - before[name]) * 1000 / calls]
    for name, action in (("bare, ", start_bare), ("", execute)):
        took = figures[f"{name}now and then (ms)"] = []
        for _ in range(calls // 10):
            await asyncio.sleep(PAUSE_SECONDS)
            took += await milliseconds(action, 1)
    return figures


async def measure_at_once(server: LiveServer, calls: int, callers: int = 16) -> Figures:
    """Return how many calls a second `callers` get together."""
    connections = [Connection(server) for _ in range(callers)]
    for connection in connections:
        await connection.open()

    async def run(connection: Connection) -> None:
        for _ in range(calls // callers):
            await connection.call("execute", **CALL)

    started = time.perf_counter()
    await asyncio.gather(*map(run, connections))
    rate = calls // callers * callers / (time.perf_counter() - started)
    return {f"{callers} at once (calls/s)": [rate]}


@contextlib.contextmanager
def build_of(tree: Path | None) -> Iterator[LiveServer]:
    python = None if tree is None else str(tree.resolve() / ".venv/bin/python")
    command = None if python is None else [python, "-m", "oneseek_sandbox.cli"]
    with running_server(command=command) as server:
        with server.client() as client:
            client.post("/v1/sandbox/acquire", json={"thread_id": THREAD}).raise_for_status()
        yield server


def print_figures(figures: dict[str, Figures]) -> None:
    names = list(figures)
    table = Table("what (median)", *names, box=None, pad_edge=False)
    if len(names) > 1:
        table.add_column("ratio")
    medians = {
        what: [statistics.median(figures[name][what]) for name in names]
        for what in figures[names[0]]
    }
    for how in ("back to back", "now and then"):
        pairs = zip(medians[f"{how} (ms)"], medians[f"bare, {how} (ms)"], strict=True)
        medians[f"gateway / bare, {how}"] = [ours / bare for ours, bare in pairs]
    for what, row in medians.items():
        ratio = [f"{row[0] / row[1]:.2f}" if row[1] else ""] if len(names) > 1 else []
        table.add_row(what, *(f"{median:.2f}" for median in row), *ratio)
    Console(highlight=False).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what execute costs each process.")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each build")
    parser.add_argument("--calls", type=int, default=320, help="calls in a turn")
    parser.add_argument("--beside", type=Path, help="another checkout, with its environment")
    given = parser.parse_args()
    builds = {"this": None} | ({"beside": given.beside} if given.beside else {})
    figures: dict[str, Figures] = {name: {} for name in builds}
    with contextlib.ExitStack() as stack:
        servers = {n: stack.enter_context(build_of(tree)) for n, tree in builds.items()}
        for _ in range(given.rounds):
            for name, server in servers.items():
                for measure in (measure_one_by_one, measure_at_once):
                    for what, found in asyncio.run(measure(server, given.calls)).items():
                        figures[name].setdefault(what, []).extend(found)
    print_figures(figures)


if __name__ == "__main__":
    main()
