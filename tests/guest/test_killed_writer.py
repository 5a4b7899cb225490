"""What a killed worker was writing is not seen by the next one, and does not stay."""

from __future__ import annotations

import json
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import WorkerProcess, wait_until, worker_process

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.finding(16)
def test_the_next_worker_hides_and_deletes_what_a_killed_one_was_writing(
    worker: WorkerProcess, home: Path
) -> None:
    client = worker.client()
    client.write(f"{home}/a/b/kept", b"kept")
    for folder in ("", "a/b/"):
        head = client.raw_head(
            "/write",
            {
                "x-meta": json.dumps({"path": f"{home}/{folder}file"}),
                "content-length": "1000000",
            },
        )
        client.connect().sendall(head + b"x" * 1000)
    drafts = lambda: list(home.rglob(".oneseek-*"))  # noqa: E731
    wait_until(lambda: len(drafts()) == 2)
    os.kill(worker.worker_pid, signal.SIGKILL)
    worker.process.wait(10)
    assert len(drafts()) == 2
    with worker_process("--workspace", str(home)) as following:
        client = following.client()
        client.claim()
        entries = client.call("/ls", path=str(home), depth=9)["entries"]
        assert [entry["path"].removeprefix(f"{home}/") for entry in entries] == [
            "a",
            "a/b",
            "a/b/kept",
        ]
        wait_until(lambda: not drafts())
    assert (home / "a/b/kept").read_bytes() == b"kept"
