"""What a server keeps of sandboxes that have come and gone: nothing, in one place."""

from __future__ import annotations

import platform
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

ARENA_BYTES = 64 * 1024**2
"""glibc reserves so much, and aligns it so, for each arena but the first (`HEAP_MAX_SIZE`)."""


def arenas(pid: int) -> int:
    """Return how many arenas glibc has made for threads: each keeps its own peak for ever."""
    ranges = [line.split() for line in Path(f"/proc/{pid}/maps").read_text("utf-8").splitlines()]
    spans = [[int(end, 16) for end in fields[0].split("-")] for fields in ranges]
    return sum(
        used[0] % ARENA_BYTES == 0
        and used[1] == free[0]
        and free[1] - used[0] == ARENA_BYTES
        and (one[1], two[1]) == ("rw-p", "---p")
        for used, free, one, two in zip(spans, spans[1:], ranges, ranges[1:], strict=False)
    )


only_glibc = pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="glibc keeps what is free"
)

FREED_BELOW_ONE_IN_USE = """
from pathlib import Path
from oneseek_sandbox.gateway.memory import give_back_free_memory

def resident():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096

blocks = [b"x" * 100_000 for _ in range(500)]
in_use = b"y" * 100_000
del blocks
before = resident()
give_back_free_memory()
print(before - resident())
"""


@only_glibc
def test_memory_that_is_free_below_some_in_use_is_given_back():
    ran = subprocess.run(
        [sys.executable, "-c", FREED_BELOW_ONE_IN_USE], capture_output=True, check=True, timeout=60
    )
    assert int(ran.stdout) > 40_000_000


@only_glibc
def test_all_threads_of_a_server_allocate_in_one_arena(new_server):
    server = new_server()

    def come_and_go(number: int) -> None:
        with server.client() as client:
            for verb in ("acquire", "release"):
                answer = client.post(f"/v1/sandbox/{verb}", json={"thread_id": f"thread-{number}"})
                answer.raise_for_status()

    with ThreadPoolExecutor(4) as callers:
        list(callers.map(come_and_go, range(8)))
    assert arenas(server.process.pid) == 0
