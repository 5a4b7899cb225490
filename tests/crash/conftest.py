"""What the crash tests share."""

from __future__ import annotations

import os
import signal

import pytest

from oneseek_sandbox.runtimes.local.liveness import first_process


@pytest.fixture
def end_sandboxes():
    """Kill the first process of every sandbox of a server, as a crash of the machine would."""

    def end(server):
        firsts = [first_process(path) for path in server.home.glob("sandboxes/*/status")]
        assert firsts
        for pid in firsts:
            os.kill(pid, signal.SIGKILL)

    return end
