"""The parents of commands: each serves many, and what was done to it does not outlast it."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import Client, WorkerProcess, below, read_response, wait_until
from tests.guest.conftest import MODES

from oneseek_sandbox.guest.worker.children import MAX_IDLE

if TYPE_CHECKING:
    from collections.abc import Callable

# Only root may look at the descriptors of another user's processes, and signal them.
as_root = pytest.mark.parametrize("mode", [mode for mode in MODES if mode == "root"], indirect=True)


def monitors(worker: WorkerProcess) -> list[int]:
    """Return the living monitors of a worker."""

    def name_of(pid: int) -> str:
        try:
            return Path(f"/proc/{pid}/comm").read_text().strip()
        except OSError:
            return ""

    return [pid for pid in below(worker.worker_pid) if name_of(pid) == "sandbox-monitor"]


def idle_monitor(worker: WorkerProcess) -> int:
    """Return the one monitor of a worker that runs nothing."""
    wait_until(lambda: len(monitors(worker)) == 1 == len(below(worker.worker_pid)))
    return monitors(worker)[0]


def runs(client: Client) -> bool:
    answer = client.execute("echo $((6 * 7)); exit 3")
    return (answer["stdout"], answer["exit_code"]) == (b"42\n", 3)


def test_commands_one_after_the_other_have_one_monitor(
    client: Client, worker: WorkerProcess
) -> None:
    assert runs(client)
    monitor = idle_monitor(worker)
    for _ in range(20):
        assert runs(client)
        assert client.execute(["/nonesuch"])["exit_code"] == 127
    assert idle_monitor(worker) == monitor


def test_of_many_monitors_few_stay(client: Client, worker: WorkerProcess) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = list(callers.map(lambda _: worker.client().execute("sleep 0.2"), range(8)))
    assert {answer["exit_code"] for answer in answers} == {0}
    wait_until(lambda: len(below(worker.worker_pid)) <= MAX_IDLE)
    assert client.call("/health", "GET")["processes"] == 0, "they are none of the sandbox's own"
    assert runs(client)


@as_root
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_monitor_that_was_killed_or_stopped_while_idle_costs_nobody_anything(
    client: Client, worker: WorkerProcess, number: signal.Signals
) -> None:
    for _ in range(10):
        assert runs(client)
        monitor = idle_monitor(worker)
        os.kill(monitor, number)
        if number == signal.SIGKILL:
            wait_until(lambda gone=monitor: gone not in below(worker.worker_pid))
        assert runs(client)


def test_code_inside_may_stop_every_idle_monitor(client: Client, worker: WorkerProcess) -> None:
    assert runs(client)
    client.execute("for p in $(pgrep -x sandbox-monitor); do kill -STOP $p; done", timeout_ms=5000)
    assert runs(client)
    wait_until(lambda: len(below(worker.worker_pid)) <= MAX_IDLE)


@pytest.mark.parametrize(
    "change", ["renice -n 19 -p $PPID", "taskset -pc 0 $PPID", "chrt --idle -p 0 $PPID"]
)
def test_a_command_does_not_slow_down_those_after_it(client: Client, change: str) -> None:
    told = "nice; taskset -pc $$ | cut -d: -f2; chrt -p $$ | head -1 | cut -d: -f2"
    before = client.execute(told)["stdout"]
    assert client.execute(f"true; {change}; true")["exit_code"] == 0
    assert client.execute(told)["stdout"] == before


def test_a_job_too_large_for_its_socket_runs_all_the_same(
    client: Client, worker: WorkerProcess
) -> None:
    large = {"A": "a" * 40_000, "B": "b" * 40_000}
    for _ in range(3):
        assert client.execute("echo ${#A} ${#B}", env=large)["stdout"] == b"40000 40000\n"
        assert runs(client)
    wait_until(lambda: len(below(worker.worker_pid)) <= MAX_IDLE)


@as_root
def test_an_idle_monitor_holds_nothing_of_the_last_command(
    client: Client, worker: WorkerProcess, home: Path
) -> None:
    folder = home / "there"
    client.execute(["mkdir", str(folder)])
    for _ in range(200):
        client.execute("cat", cwd=str(folder), stdin="x")
    monitor = idle_monitor(worker)
    assert os.readlink(f"/proc/{monitor}/cwd") == "/"
    assert descriptors(monitor) == {"0", "1", "2", "a socket"}


@as_root
def test_a_monitor_holds_no_connection_and_no_output(client: Client, worker: WorkerProcess) -> None:
    client.execute("true")
    first = client.start("sleep 1000")
    wait_until(lambda: client.call("/health", "GET")["processes"] == 1)
    for _ in range(3):
        client.execute("sleep 0.01 &")
    (working,) = {pid for pid in monitors(worker) if below(pid)}
    assert descriptors(working) == {"0", "1", "2", "a pipe", "a socket"}
    first.close()


def descriptors(pid: int) -> set[str]:
    """Return what a process has open beside what PID 1 itself was started with."""
    own = {name: os.readlink(f"/proc/{pid}/fd/{name}") for name in os.listdir(f"/proc/{pid}/fd")}
    kinds = [
        name if name in {*"012"} else f"a {link.partition(':')[0]}" for name, link in own.items()
    ]
    assert len(kinds) == len(set(kinds)), own
    return set(kinds)


def test_what_a_process_left_behind_keeps_its_monitor_and_gives_it_back(
    client: Client, worker: WorkerProcess
) -> None:
    client.execute("sleep 1000 > /dev/null 2>&1 &", request_id="a")
    assert runs(client)
    kept = {pid for pid in monitors(worker) if below(pid)}
    assert len(kept) == 1
    assert client.call("/signal", request_id="a", signal="KILL")["delivered"] == 1
    wait_until(lambda: not any(below(pid) for pid in monitors(worker)))
    assert runs(client)
    wait_until(lambda: len(below(worker.worker_pid)) <= MAX_IDLE)


def test_a_command_that_kills_its_monitor_hits_no_other(
    client: Client, start: Callable[..., WorkerProcess]
) -> None:
    other: socket.socket = client.start("sleep 1; echo other")
    answer = client.execute("true; kill -9 $PPID; sleep 1000")
    assert answer["killed_by"] is not None or answer["exit_code"] != 0
    assert b"b3RoZXIK" in read_response(other)
    assert runs(client)
