"""Let many threads come and go for long: `python -m tests.faults.live.soak [--minutes 30]`.

A real server with real sandboxes. Visits begin at a fixed rate, whatever the answers take; half of
them release their sandbox, the others leave it to expire, and some come back before it does. The
last minute is held against the first one after a minute of warming up; a table is printed, and the
exit status is 1 where anything grew, failed, or was left.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
import secrets
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import redis
from rich.console import Console
from rich.table import Table
from tests.faults.live.outside import RunLog, processes_of, seen_sandboxes

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.embedded_files import ServerFiles
from oneseek_sandbox.runtimes.local import processes
from oneseek_sandbox.testing.server import LiveServer

SETTINGS = {
    "PROVISIONER_IDLE_TIMEOUT_SECONDS": "20",
    "PROVISIONER_CLEANUP_INTERVAL_SECONDS": "5",
    "PROVISIONER_MEMORY_LIMIT_MB": "256",
}
VISITORS = 32
SAMPLE_SECONDS = 1.0
WINDOW_SECONDS = 60.0
END_SECONDS = 120.0
COMES_BACK, RELEASES = 0.4, 0.5
# So many that stayed may come back, which they do before they expire.
KNOWN = 8

LATENCY_LIMIT = 1.2
GROWTH_LIMIT = 1.1
# What goes up and down with how many sandboxes live just then, besides what the limit allows.
SLACK = {"memory": 2, "sandboxes": 8, "processes": 24, "keys": 16, "files": 120, "descriptors": 16}


@dataclass
class Visits:
    """What became of the visits so far; times are seconds of the run."""

    took: list[tuple[float, str, float]] = field(default_factory=list)
    failed: Counter[str] = field(default_factory=Counter)
    came: set[str] = field(default_factory=set)
    reused: int = 0


class Traffic:
    """Pays visits to a server.

    Args:
        began: `time.monotonic()` at which the run began.
        threads: How many names of threads there are.
    """

    def __init__(self, server: LiveServer, began: float, threads: int, seed: int) -> None:
        self.visits = Visits()
        self._server = server
        self._began = began
        self._random = random.Random(seed)
        self._fresh = itertools.cycle(range(threads))
        self._recent: deque[int] = deque(maxlen=KNOWN)
        self._own = threading.local()

    def next_thread(self) -> tuple[str, bool]:
        """Choose who comes next, and whether the sandbox is released then; by one thread only."""
        back = len(self._recent) == KNOWN and self._random.random() < COMES_BACK
        number = self._recent.popleft() if back else next(self._fresh)
        releases = self._random.random() < RELEASES
        if not releases:
            self._recent.append(number)
        return f"thread-{number}", releases

    def pay(self, thread: str, releases: bool) -> None:
        """Call each verb once; a failure is kept and ends the visit."""
        try:
            acquired = self._call("acquire", thread_id=thread)
            self.visits.reused += bool(acquired["reused"])
            self.visits.came.add(thread)
            text, path = secrets.token_hex(2000), f"/workspace/files/{secrets.token_hex(4)}"
            self._call("write_file", thread_id=thread, path=path, content=text)
            self._call("execute", thread_id=thread, command="true")
            command = f"cat {path}; sleep 300 >/dev/null 2>&1 &"
            ran = self._call(
                "execute", thread_id=thread, command=command, request_id=secrets.token_hex(8)
            )
            if ran["stdout"] != text:
                self.visits.failed["execute: another text"] += 1
            self._call("replace", thread_id=thread, path=path, old=text[:9], new="new")
            self._call("read_file", thread_id=thread, path=path)
            self._call("ls", thread_id=thread, path="/workspace")
            if releases:
                self._call("release", sandbox_id=acquired["sandbox_id"])
        except httpx.HTTPError as error:
            self.visits.failed[f"{type(error).__name__}: {error}"] += 1
        except RuntimeError as error:
            self.visits.failed[str(error)] += 1

    def _call(self, verb: str, **fields: object) -> dict[str, object]:
        if not hasattr(self._own, "client"):
            self._own.client = self._server.client()
        began = time.monotonic()
        response = self._own.client.post(f"/v1/sandbox/{verb}", json=fields)
        self.visits.took.append((began - self._began, verb, time.monotonic() - began))
        answer: dict[str, object] = response.json()
        if response.status_code != 200:
            error = answer["error"]
            raise RuntimeError(
                f"{verb}: {response.status_code} {error['code']}: {error['message']}"
            )
        return answer


class Meter:
    """Looks at a server, its store, its sandboxes and its home from outside."""

    def __init__(self, server: LiveServer) -> None:
        assert server.process is not None
        store, address = EmbeddedServer.process_id(server.home), ServerFiles(server.home).address()
        assert store is not None
        self.seen = RunLog(server.home)
        self.samples: list[tuple[float, dict[str, float]]] = []
        self._home = server.home
        self._pids = {"gateway": server.process.pid, "store": store}
        self._store = redis.Redis(unix_socket_path=str(address))

    def look(self, at: float) -> None:
        """Add a sample, taken `at` seconds after the beginning."""
        alive = seen_sandboxes(self._home)
        self.seen.seen |= {sandbox.name: sandbox for sandbox in alive}
        sample: dict[str, float] = {"sandboxes": len(alive), "processes": self._inside()}
        for name, pid in self._pids.items():
            sample[f"{name}: memory, MiB"] = _resident(pid) / 1024**2
            sample[f"{name}: descriptors"] = len(list(Path(f"/proc/{pid}/fd").iterdir()))
        sample["store: keys"] = self.keys()
        sample["files in the home"] = sum(
            len(names)
            for _, _, names in os.walk(self._home)  # what vanishes meanwhile is left out
        )
        self.samples.append((at, sample))

    def _inside(self) -> int:
        """Return how many processes belong to sandboxes of this run, living ones or not."""
        users = {sandbox.user for sandbox in self.seen.seen.values()} - {None}
        if users:
            return sum(processes.real_user(pid) in users for pid in processes.all_processes())
        return sum(len(processes_of(sandbox)) for sandbox in seen_sandboxes(self._home))

    def keys(self) -> int:
        """Return how many keys the store has, without those that it drops by itself in time.

        How a sandbox ended is remembered for a while, so these grow for as long.
        """
        space = self._store.info("keyspace").get("db0", {"keys": 0, "expires": 0})
        return int(space["keys"]) - int(space["expires"])


def _resident(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text("utf-8").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    return 0


def run(traffic: Traffic, meter: Meter, began: float, seconds: float, rate: float) -> None:
    """Pay visits at a rate, in threads of their own, and look on meanwhile."""
    looked = 0.0
    with ThreadPoolExecutor(VISITORS) as visitors:
        for number in itertools.count():
            due = number / rate
            if due >= seconds:
                break
            while (now := time.monotonic() - began) < due:
                if now - looked >= SAMPLE_SECONDS:
                    looked = now
                    meter.look(now)
                else:
                    time.sleep(min(0.05, due - now))
            visitors.submit(traffic.pay, *traffic.next_thread())


def end_all(server: LiveServer, meter: Meter) -> list[str]:
    """Release every sandbox, stop the server, and name what is left."""
    server.release_all()
    deadline = time.monotonic() + END_SECONDS
    while (seen_sandboxes(server.home) or meter.keys() > 1) and time.monotonic() < deadline:
        meter.look(0.0)
        time.sleep(0.2)
    # The last generation that was given out stays.
    left = [f"{meter.keys()} keys in the store"] if meter.keys() > 1 else []
    server.stop()
    return left + meter.seen.left()


def judge(
    traffic: Traffic, meter: Meter, seconds: float, threads: int, left: list[str]
) -> tuple[Table, bool]:
    """Return a table of the first and the last minute, and whether all is as it should be."""
    windows = [(WINDOW_SECONDS, 2 * WINDOW_SECONDS), (seconds - WINDOW_SECONDS, seconds)]
    table = Table("what", "first", "last", "at most", "", box=None, pad_edge=False)
    passed = True

    def row(name: str, first: float | str, last: float, limit: float) -> None:
        nonlocal passed
        holds = last <= limit
        passed = passed and holds
        shown = first if isinstance(first, str) else f"{first:.1f}"
        table.add_row(name, shown, f"{last:.1f}", f"{limit:.1f}", "ok" if holds else "TOO MUCH")

    took = traffic.visits.took
    for verb in sorted({verb for _, verb, _ in took}):
        first, last = [
            statistics.median(s for at, name, s in took if name == verb and begin <= at < end)
            * 1000
            for begin, end in windows
        ]
        row(f"{verb}: median, ms", first, last, first * LATENCY_LIMIT)
    for name in meter.samples[0][1]:
        first, last = [
            statistics.median(s[name] for at, s in meter.samples if begin <= at < end)
            for begin, end in windows
        ]
        slack = next(each for word, each in SLACK.items() if word in name)
        row(name, first, last, first * GROWTH_LIMIT + slack)
    row("failed visits", "", sum(traffic.visits.failed.values()), 0)
    row("left at the end", "", len(left), 0)
    row(f"threads that never came, of {threads}", "", threads - len(traffic.visits.came), 0)
    return table, passed


def main() -> int:
    """Run, print the table, and return 1 where something grew, failed or was left."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.live.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30, help="from 3")
    parser.add_argument("--threads", type=int, default=1000)
    parser.add_argument("--rate", type=float, default=1.5, help="visits begun in a second")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    seconds = given.minutes * 60
    if seconds < 3 * WINDOW_SECONDS:
        parser.error("a minute to warm up, a first and a last one take three")
    with tempfile.TemporaryDirectory(prefix="soak") as folder:
        Path(folder).chmod(0o755)
        with LiveServer(Path(folder), key=secrets.token_hex(), settings=SETTINGS) as server:
            began = time.monotonic()
            traffic = Traffic(server, began, given.threads, given.seed)
            meter = Meter(server)
            run(traffic, meter, began, seconds, given.rate)
            left = end_all(server, meter)
        table, passed = judge(traffic, meter, seconds, given.threads, left)
    visits = traffic.visits
    print(
        f"{given.minutes:g} minutes, {len(visits.took)} calls, {visits.reused} visits that came "
        f"back, {len(meter.seen.seen)} sandboxes seen"
    )
    Console(highlight=False).print(table)
    for what, count in [*visits.failed.most_common(10), *((name, 1) for name in left[:10])]:
        print(f"{count} × {what}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
