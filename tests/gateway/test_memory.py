"""What a server keeps of sandboxes that have come and gone: nothing, in one place."""

from __future__ import annotations

import platform
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="arenas are glibc's")
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
