"""What the crash tests share."""

from __future__ import annotations

import os
import select
import signal

import pytest
from tests.crash.trees import EARLIER, LAST_RELEASE, unpack

from oneseek_sandbox.runtimes.local.liveness import first_process


@pytest.fixture(scope="session")
def earlier(tmp_path_factory):
    """The variables that make a server run the code of an earlier commit."""
    return {"PYTHONPATH": str(unpack(EARLIER, tmp_path_factory.mktemp("earlier")))}


@pytest.fixture(scope="session")
def last_release(tmp_path_factory):
    """Where `shared` of the last release is."""
    return unpack(LAST_RELEASE, tmp_path_factory.mktemp("last release"))


@pytest.fixture
def end_sandboxes():
    """Kill the first process of every sandbox of a server, as a crash of the machine would.

    When this returns they have ended: what is sent from then on reaches none.
    """

    def end(server):
        firsts = [first_process(path) for path in server.home.glob("sandboxes/*/status")]
        assert firsts
        for pid in firsts:
            process = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(process, signal.SIGKILL)
                assert select.select([process], [], [], 60)[0], f"{pid} has not ended"
            finally:
                os.close(process)

    return end
