"""What sandboxes at work take from each other, and from the servers."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.runtimes.local import cgroups
from oneseek_sandbox.runtimes.local.liveness import first_process

BENCHMARK = Path(__file__).parents[2] / "bench" / "neighbours.py"


@pytest.fixture
def by_groups():
    parents = [parent for parent in cgroups.find_parents() if "cpu" in parent.controllers]
    if not parents:
        pytest.skip("no control group shares the processor out here")
    return parents[0]


@pytest.mark.finding(15)
def test_neighbours_cost_a_command_little():
    options = ("--count", "300", "--gate", "8")
    done = subprocess.run(
        [sys.executable, str(BENCHMARK), *options], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.finding(15)
def test_servers_have_twice_the_weight_of_all_sandboxes(new_server, by_groups):
    if by_groups.version == 2:
        pytest.skip("servers stay where their service has them; sandboxes have half of its weight")
    server = new_server()
    with server.client() as client:
        for thread in ("one", "another"):
            client.post("/v1/sandbox/acquire", json={"thread_id": thread}).raise_for_status()
    servers, sandboxes = [by_groups.path / f"oneseek-{who}" for who in ("servers", "sandboxes")]
    store = EmbeddedServer.process_id(server.home)
    members = {int(pid) for pid in (servers / "cgroup.procs").read_text().split()}
    assert {server.process.pid, store} <= members
    firsts = {first_process(path) for path in server.home.glob("sandboxes/*/status")}
    assert len(firsts) == 2
    held = {
        int(pid)
        for group in sandboxes.glob("oneseek-*")
        for pid in (group / "cgroup.procs").read_text().split()
    }
    assert firsts <= held
    weights = [int((group / "cpu.shares").read_text()) for group in (servers, sandboxes)]
    assert weights[0] == 2 * weights[1]


@pytest.mark.finding(15)
async def test_a_command_is_not_far_below_its_worker(runtime, home, labels, run, by_groups):
    """A group's weight goes to the processor where its heavier process runs; see decision 20."""
    sandbox = await runtime.create(labels())
    (status,) = home.glob("sandboxes/*/status")
    worker = os.getpriority(os.PRIO_PROCESS, first_process(status))
    command = int((await run(sandbox, "nice")).output)
    assert 0 < command - worker <= 10
