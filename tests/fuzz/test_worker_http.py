"""Any bytes to a worker: an answer below 500 or a closed connection, and nothing that stays behind."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.fuzz.answers import deliver, replies
from tests.fuzz.budget import TIMES, tries
from tests.fuzz.requests import GENERATION, deliveries
from tests.guest.client import TOKEN, WorkerProcess, wait_until, worker_process
from tests.guest.conftest import UNUSED_UID, as_first_process, python_for

pytestmark = pytest.mark.faults

FEW_DESCRIPTORS = 160
"""So few that a worker which keeps one of every broken connection soon has none."""


def start():
    uid = UNUSED_UID if os.geteuid() == 0 else None

    def prefix(folder):
        limit = f"--nofile={FEW_DESCRIPTORS}:{FEW_DESCRIPTORS}"
        return [*as_first_process(folder), "prlimit", limit]

    return worker_process(python=python_for(uid), uid=uid, prefix=prefix)


@pytest.fixture(scope="module")
def target():
    with start() as process:
        yield Target(process)


class Target:
    """A worker that everything is sent to, and a careful caller of it."""

    def __init__(self, process: WorkerProcess) -> None:
        self._process = process
        self.root = str(process.workspace)
        self.client = process.client(generation=GENERATION)
        self.client.claim(generation=0)
        self.client.execute(
            "mkdir dir; ln -s loop loop; ln -s /etc out; mkfifo fifo; echo text > file"
        )

    def try_out(self, delivery):
        """Deliver it, judge what came, and see that the worker still serves."""
        came = replies(deliver(self.client.connect(), delivery))
        assert [reply for reply in came if reply.status >= 500] == []
        if TOKEN.encode() not in delivery.data:
            served = [reply for reply in came if reply.status == 200]
            assert len(served) <= delivery.data.count(b"/proof")
        self.client.close()
        counts = {"commands", "processes", "lasting", "env_version"}
        assert self.client.call("/health", "GET").keys() == counts
        return came

    @property
    def memory(self):
        """Bytes that are its own."""
        resident, shared = (Path(f"/proc/{self._process.worker_pid}/statm").read_text().split())[
            1:3
        ]
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")


@tries(350)
@given(data=st.data())
def test_whatever_is_sent_is_answered_or_ends(target, data):
    target.try_out(data.draw(deliveries(target.root)))


def test_nothing_grows_over_rounds_of_the_same(target):
    @tries(60, times=1)
    @given(data=st.data())
    def collect(data):
        corpus.append(data.draw(deliveries(target.root)))

    corpus = []
    collect()
    sizes = []
    for seed in range(2 + 4 * TIMES):
        for delivery in random.Random(seed).sample(corpus, len(corpus)):
            target.try_out(delivery)
        wait_until(lambda: target.client.call("/health", "GET")["commands"] == 0)
        sizes.append(target.memory)
    assert min(sizes[2:]) < max(sizes[:2]) + (1 << 20), sizes
