"""Output that the worker keeps: its head and tail, in memory and on disk."""

from __future__ import annotations

import errno
import gc
import os
import random
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.unit.guest.cutting import pieces

from oneseek_sandbox.guest.worker import output, spool
from oneseek_sandbox.guest.worker.output import Capture
from oneseek_sandbox.guest.worker.spool import Spools

if TYPE_CHECKING:
    from collections.abc import Iterator


def kept(capture: Capture, size: int) -> tuple[bytes, bytes]:
    """Return head and tail of a capture, read in parts of a size."""
    head = [capture.head(start, size) for start in range(0, capture.head_size, size)]
    tail = [capture.tail(start, size) for start in range(0, capture.tail_size, size)]
    return b"".join(head), b"".join(tail)


@pytest.fixture(params=["memory", "file"])
def spools(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Spools]:
    """Where captures keep their bytes; nothing of it is left when they are gone."""
    if request.param == "file":
        monkeypatch.setattr(spool, "MAX_MEMORY_BYTES", 100)
    spools = Spools((b"/nowhere", os.fsencode(tmp_path)))
    yield spools
    gc.collect()
    assert spools.in_memory == 0
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 101, 1000])
def test_capture_keeps_exactly_head_and_tail(limit: int, spools: Spools) -> None:
    for seed in range(30):  # not as parameters: to look for garbage after each takes long
        data = random.Random(seed).randbytes(random.Random(seed).randrange(2500))
        capture = Capture(limit, spools)
        for piece in pieces(data, seed):
            capture.feed(piece)
        head, tail = kept(capture, 1 + seed)
        assert capture.total == len(data), seed
        if len(data) <= limit:
            assert head + tail == data, seed
        else:
            assert head == data[: (limit + 1) // 2], seed
            assert tail == (data[-(limit // 2) :] if limit > 1 else b""), seed


@pytest.mark.parametrize("room", [0, 150, 300, 420, 800])
def test_without_room_on_the_disk_a_capture_keeps_what_it_has_and_a_short_tail(
    room: int, spools: Spools, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(fd: int, data: bytes, position: int) -> int:
        if position + len(data) > room:
            raise OSError(errno.ENOSPC, "")
        return pwrite(fd, data, position)

    pwrite = os.pwrite
    monkeypatch.setattr(os, "pwrite", full)
    monkeypatch.setattr(output, "LOW_MEMORY_BYTES", 60)
    data = random.Random(room).randbytes(2500)
    capture = Capture(1000, spools)
    for start in range(0, 2500, 50):
        capture.feed(data[start : start + 50])
    head, tail = kept(capture, 7)
    assert capture.total == 2500
    assert data.startswith(head)
    assert data.endswith(tail)
    if len(head) + len(tail) < 1000:
        assert (len(head) >= min(room, 100), len(tail)) == (True, 60)


def test_many_captures_together_take_little_memory(spools: Spools) -> None:
    captures = [Capture(1_000_000, spools) for _ in range(100)]
    for capture in captures:
        capture.feed(b"x" * 100_000)
    assert spools.in_memory <= spool.MAX_SHARED_BYTES + 100_000
    assert all(kept(capture, 50_000)[0] == b"x" * 100_000 for capture in captures)
