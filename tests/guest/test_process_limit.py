"""A sandbox full of processes: commands still end in time, the next one starts, files stay."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import Client, Refused, parse_exit, read_response, wait_until
from tests.guest.conftest import few_processes_worker, start_in_mode
from tests.guest.test_limits import HOG

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.guest.client import WorkerProcess

FILLING = {
    "a fork bomb": ":(){ :|:& };:",
    "a pool that leaks": "while sleep 1000 >/dev/null 2>&1 & do :; done 2>/dev/null",
    "a pool whose parent ended": (
        "exec python3 -c 'import os, time\nwhile True: os.fork() or time.sleep(1000)'"
    ),
    "a tight loop": (
        "exec python3 -c 'import os\nwhile True:\n try: os.fork()\n except OSError: pass'"
    ),
    "a tight loop of sessions": (
        "exec python3 -c 'import os\nwhile True:\n try: os.fork() or os.setsid()\n"
        " except OSError: pass'"
    ),
}
LIMIT_SECONDS = 2


@pytest.fixture
def full() -> Iterator[WorkerProcess]:
    """A worker where 40 processes are the most."""
    with few_processes_worker("--max-processes", "40") as process:
        yield process


@pytest.mark.finding(13)
@pytest.mark.parametrize("filling", FILLING.values(), ids=FILLING)
def test_a_full_sandbox_answers_in_time_and_runs_the_next_command(
    full: WorkerProcess, filling: str
) -> None:
    client = full.client()
    client.write(str(full.workspace / "file"), b"kept\n")
    began = time.monotonic()
    client.execute(filling, timeout_ms=LIMIT_SECONDS * 1000, grace_ms=200)
    assert time.monotonic() - began < LIMIT_SECONDS + 20
    for _ in range(3):
        began = time.monotonic()
        answer = client.execute("cat file; ls | wc -l; echo $(echo more)", timeout_ms=20_000)
        assert (answer["stdout"], answer["exit_code"]) == (b"kept\n1\nmore\n", 0)
        assert time.monotonic() - began < 20


@pytest.mark.finding(13)
def test_what_was_left_running_goes_newest_first_and_is_named(full: WorkerProcess) -> None:
    client = full.client()
    client.execute("setsid sleep 1111 >/dev/null 2>&1 &")
    client.execute("sleep 0.1; " + FILLING["a pool whose parent ended"])
    answer = client.execute("pgrep -fx 'sleep 1111' >/dev/null && echo $(echo old one lives)")
    assert answer["stdout"] == b"old one lives\n"
    assert 10 <= answer["ended"]["python3"] < 40
    assert "sleep" not in answer["ended"]
    assert "ended" not in client.execute("true")


@pytest.mark.finding(13)
def test_nothing_that_runs_is_ended_for_another_command(full: WorkerProcess) -> None:
    client = full.client()
    client.execute("setsid sleep 1111 >/dev/null 2>&1 &")
    busy = client.start(HOG, request_id="busy")
    deadline = time.monotonic() + 20
    with pytest.raises(Refused) as refused:
        while time.monotonic() < deadline:
            client.execute("true")
    assert (refused.value.status, refused.value.code) == (429, "too_many_commands")
    assert "of 40 processes" in refused.value.message
    assert 'cancel "*"' in refused.value.message
    assert full.client().call("/cancel", request_id="busy") == {"cancelled": True}
    assert parse_exit(read_response(busy))["killed_by"] == "cancelled"
    assert client.execute("pgrep -fx 'sleep 1111' | wc -l")["stdout"] == b"1\n"


@pytest.mark.finding(13)
def test_everything_can_be_ended_with_the_files_kept(full: WorkerProcess) -> None:
    client = full.client()
    client.write(str(full.workspace / "file"), b"kept\n")
    client.execute("trap '' TERM; setsid sleep 1000 >/dev/null 2>&1 &")
    running = client.start("touch up; sleep 1000", request_id="running")
    wait_until((full.workspace / "up").exists)
    filling = client.start(FILLING["a tight loop"], timeout_ms=60_000)

    def is_full() -> bool:
        return client.call("/health", "GET")["processes"] > 30

    wait_until(is_full)
    ender = full.client()
    assert ender.call("/cancel", request_id="*") == {"cancelled": True}
    assert set(client.call("/health", "GET").values()) == {0}
    for sock in (running, filling):
        assert parse_exit(read_response(sock))["killed_by"] == "cancelled"
    assert client.execute("cat file")["stdout"] == b"kept\n"
    assert ender.call("/cancel", request_id="*") == {"cancelled": False}


@pytest.fixture
def unbounded() -> Iterator[Client]:
    """A client of a worker that has to keep the limit of 60 itself, as in a pod."""
    with start_in_mode("first", "--max-processes", "60", "--end-excess") as process:
        client = process.client()
        client.claim()
        yield client


SLEEPERS = "for i in $(seq 200); do sleep 1000 >/dev/null 2>&1 & done; {}"


@pytest.mark.finding(13)
def test_a_command_that_passes_the_limit_is_ended(unbounded: Client) -> None:
    other = unbounded.start("sleep 1.5; echo survived")
    answer = unbounded.execute("echo out; " + SLEEPERS.format("sleep 1000"))
    assert (answer["killed_by"], answer["stdout"]) == ("process_limit", b"out\n")
    assert answer["duration_ms"] < 10_000
    assert parse_exit(read_response(other))["stdout"] == b"survived\n"
    assert unbounded.call("/health", "GET")["processes"] == 0


@pytest.mark.finding(13)
@pytest.mark.parametrize(
    "command",
    [
        "python3 -c 'import threading, time\n"
        "for _ in range(100): threading.Thread(target=time.sleep, args=(1000,)).start()'",
        ":(){ :|:& };:; sleep 1000",
    ],
    ids=["threads", "a fork bomb"],
)
def test_threads_and_bombs_pass_it_too(unbounded: Client, command: str) -> None:
    assert unbounded.execute(command)["killed_by"] == "process_limit"
    assert unbounded.execute("echo $(echo next)")["stdout"] == b"next\n"


@pytest.mark.finding(13)
def test_many_threads_weigh_more_than_the_few_processes_left_behind(unbounded: Client) -> None:
    unbounded.execute("for i in 1 2 3; do sleep 1000 >/dev/null 2>&1 & done")
    threads = (
        "python3 -c 'import threading, time\n"
        "for _ in range(100): threading.Thread(target=time.sleep, args=(1000,)).start()'"
    )
    assert unbounded.execute(threads, timeout_ms=10_000)["killed_by"] == "process_limit"
    assert unbounded.call("/health", "GET")["processes"] == 3


@pytest.mark.finding(13)
def test_what_was_left_behind_passes_it_too(unbounded: Client) -> None:
    unbounded.execute("(sleep 0.5; " + SLEEPERS.format("wait") + ") >/dev/null 2>&1 &")
    wait_until(lambda: unbounded.execute("true").get("ended"))
    wait_until(lambda: unbounded.call("/health", "GET")["processes"] <= 60)


@pytest.mark.finding(13)
@pytest.mark.parametrize("way", ["-p 1", "-u $(id -u)", "-g 1"])
def test_the_first_process_outweighs_what_it_runs(first: WorkerProcess, way: str) -> None:
    client = first.client()
    assert client.execute("nice")["stdout"] == b"10\n"
    before = client.execute("ps -o ni= -p 1")["stdout"]
    assert client.execute(f"renice -n 15 {way}")["exit_code"] != 0
    assert client.execute("ps -o ni= -p 1")["stdout"] == before
    assert client.execute("nice -n 5 nice; renice -n 12 -p $$ >/dev/null; nice")["stdout"] == (
        b"15\n12\n"
    )
