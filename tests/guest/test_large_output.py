"""Output that is much more than the worker's memory: whole, and not in its memory."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING

from tests.guest.client import Client, WorkerProcess

if TYPE_CHECKING:
    from pathlib import Path

SIZE = 10 * 1024 * 1024
AT_ONCE = 16
MOST_KIB = 16 * 1024


def memory_kib(pid: int) -> int:
    """Return how much memory a process has that it shares with no other."""
    with open(f"/proc/{pid}/status") as status:
        return sum(
            int(line.split()[1]) for line in status if line.startswith(("RssAnon", "RssShmem"))
        )


def test_ten_megabytes_of_each_stream_come_whole(client: Client, home: Path) -> None:
    script = f"head -c {SIZE} /dev/urandom | tee out; head -c {SIZE} /dev/urandom | tee err >&2"
    answer = client.execute(script, max_output_bytes=SIZE)
    for name in ("stdout", "stderr"):
        data = (home / name[3:]).read_bytes()
        assert hashlib.sha256(answer[name]).digest() == hashlib.sha256(data).digest()


def test_much_output_at_once_is_not_in_the_workers_memory(worker: WorkerProcess) -> None:
    pid, peak, failed = worker.worker_pid, [0], []
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(0.02):
            peak[0] = max(peak[0], memory_kib(pid))

    def run(number: int) -> None:
        with worker.client() as client:
            script = f"head -c {SIZE} /dev/zero | tr '\\0' {number:x}; echo end >&2"
            wanted = {"max_output_bytes": SIZE, "timeout_ms": 300_000}
            answer = client.execute(script, request_id=f"run {number}", **wanted)
            if answer["stdout"] != b"%x" % number * SIZE or answer["stderr"] != b"end\n":
                failed.append(number)

    watcher = threading.Thread(target=watch)
    runs = [threading.Thread(target=run, args=(number,)) for number in range(AT_ONCE)]
    for thread in (watcher, *runs):
        thread.start()
    for thread in runs:
        thread.join()
    ended.set()
    watcher.join()
    assert failed == []
    assert peak[0] <= MOST_KIB
