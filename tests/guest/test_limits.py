"""Limits, cancelling and dropped connections: nothing outlives them, output survives."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import (
    Client,
    Refused,
    WorkerProcess,
    parse_exit,
    read_response,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


# It takes whatever becomes free at once; a shell waits a second before it tries again.
HOG = (
    "exec python3 -c 'import os, time\nwhile True:\n try: os.fork() or time.sleep(1000)\n"
    " except OSError: pass'"
)


def processes(client: Client) -> int:
    return int(client.call("/health", "GET")["processes"])


def test_the_time_limit_keeps_partial_output(client: Client) -> None:
    answer = client.execute("echo before; echo problem >&2; sleep 100; echo after", timeout_ms=300)
    assert (answer["exit_code"], answer["timed_out"], answer["killed_by"]) == (124, True, "timeout")
    assert (answer["stdout"], answer["stderr"]) == (b"before\n", b"problem\n")
    assert 300 <= answer["duration_ms"] < 30_000
    assert processes(client) == 0


def test_a_command_may_clean_up_after_term(client: Client) -> None:
    answer = client.execute(
        "trap 'echo cleaned; exit 0' TERM; while :; do sleep 0.05; done",
        timeout_ms=300,
        grace_ms=30_000,
    )
    assert answer["stdout"] == b"cleaned\n"
    assert (answer["exit_code"], answer["duration_ms"] < 25_000) == (124, True)


@pytest.mark.parametrize(
    "command",
    [
        "setsid sleep 1000 & sleep 1000",
        "(setsid sh -c 'sleep 1000 & sleep 1000' &) ; sleep 1000",
        "trap '' TERM; sleep 1000 & while :; do sleep 1000; done",
        "setsid sh -c 'trap \"\" TERM HUP INT; (sleep 1000; sleep 1000) & wait' & sleep 1000",
        "sh -c 'kill -STOP $$' & sleep 1000",
        "setsid sh -c 'while :; do setsid sleep 0.01 & sleep 0.005; done' & sleep 1000",
    ],
)
def test_nothing_outlives_the_limit(client: Client, command: str) -> None:
    answer = client.execute(f"echo out; {command}", timeout_ms=400, grace_ms=100)
    assert (answer["exit_code"], answer["stdout"]) == (124, b"out\n")
    assert processes(client) == 0


def test_a_fork_bomb_ends_at_its_limit_and_the_next_command_works(first: WorkerProcess) -> None:
    client = first.client()
    bomb = "ulimit -u 300; bomb() { bomb | bomb & }; bomb; sleep 1000"
    answer = client.execute(bomb, timeout_ms=1500, grace_ms=100, max_output_bytes=10_000)
    assert answer["exit_code"] == 124
    assert processes(client) == 0
    assert client.execute("echo fine")["stdout"] == b"fine\n"


def test_other_commands_survive_the_end_of_one(client: Client) -> None:
    other = client.start("sleep 1.5; echo survived")
    assert client.execute("setsid sleep 1000 & sleep 1000", timeout_ms=300)["exit_code"] == 124
    assert parse_exit(read_response(other))["stdout"] == b"survived\n"


def test_a_background_process_delays_the_answer_by_a_moment_only(client: Client) -> None:
    started = time.monotonic()
    answer = client.execute("sleep 1000 & echo started")
    assert 0.2 < time.monotonic() - started < 30
    assert (answer["stdout"], answer["background"], answer["exit_code"]) == (b"started\n", True, 0)
    assert processes(client) == 1


def test_a_background_process_that_holds_no_pipe_is_told_too(client: Client) -> None:
    answer = client.execute("sleep 1000 >/dev/null 2>&1 & echo started")
    assert answer["background"] is True
    assert client.execute("pgrep -x sleep | wc -l; true")["background"] is False


def test_a_background_process_lives_on_and_may_print(client: Client, home: Path) -> None:
    client.execute("(for i in $(seq 5000); do echo line; done; sleep 0.5; touch alive) &")
    wait_until((home / "alive").exists)


def test_background_processes_survive_the_end_of_a_later_monitor(client: Client) -> None:
    client.execute("sleep 1000 &")
    assert client.execute("kill -9 $PPID; sleep 100")["killed_by"] == "monitor_killed"
    assert processes(client) == 1


def test_a_killed_monitor_is_a_clear_answer_and_ends_the_command(client: Client) -> None:
    answer = client.execute("echo out; setsid sleep 1000 & kill -9 $PPID; sleep 1000")
    assert (answer["killed_by"], answer["exit_code"]) == ("monitor_killed", 137)
    assert (answer["stdout"], answer["duration_ms"] < 30_000) == (b"out\n", True)
    assert processes(client) == 0
    assert client.execute("echo next")["stdout"] == b"next\n"


def test_a_stopped_monitor_changes_nothing(client: Client) -> None:
    answer = client.execute("kill -STOP $PPID; echo out; exit 3")
    assert (answer["exit_code"], answer["stdout"]) == (3, b"out\n")
    evading = "setsid sh -c 'while :; do kill -STOP '$PPID'; done' & sleep 1000"
    answer = client.execute(evading, timeout_ms=400, grace_ms=50)
    assert (answer["exit_code"], answer["duration_ms"] < 30_000) == (124, True)
    assert processes(client) == 0


def test_kill_everything_is_a_clear_answer_for_all_who_run(first: WorkerProcess) -> None:
    client = first.client()
    other = client.start("echo other; sleep 1000")
    wait_until(lambda: client.call("/health", "GET")["processes"] >= 1)
    answer = client.execute("echo out; kill -9 -1; sleep 1000")
    assert (answer["killed_by"], answer["stdout"]) == ("monitor_killed", b"out\n")
    assert parse_exit(read_response(other))["killed_by"] == "monitor_killed"
    assert processes(client) == 0
    assert client.execute("echo next")["stdout"] == b"next\n"


@pytest.mark.parametrize("command", ["pkill python", "pkill -9 python", "kill 0", "pkill -9 -f x"])
def test_killing_by_name_leaves_a_sandbox_that_works(first: WorkerProcess, command: str) -> None:
    client = first.client()
    answer = client.execute(f"{command}; echo $?")
    assert answer["duration_ms"] < 30_000
    assert client.execute("echo next")["stdout"] == b"next\n"


def test_pkill_python_does_not_mean_the_monitor(first: WorkerProcess) -> None:
    answer = first.client().execute("pkill -9 python; echo $?")
    assert (answer["killed_by"], answer["stdout"]) == (None, b"1\n")


def test_cancel_ends_the_tree(client: Client, worker: WorkerProcess) -> None:
    sock = client.start("echo out; setsid sleep 1000 & sleep 1000", request_id="r")
    wait_until(lambda: processes(client) >= 3)
    assert worker.client().call("/cancel", request_id="r") == {"cancelled": True}
    answer = parse_exit(read_response(sock))
    assert (answer["killed_by"], answer["stdout"]) == ("cancelled", b"out\n")
    assert answer["exit_code"] > 128
    assert processes(client) == 0
    assert client.call("/cancel", request_id="r") == {"cancelled": False}
    with pytest.raises(Refused) as refused:
        client.call("/cancel", request_id="never")
    assert (refused.value.status, refused.value.code) == (404, "command_not_found")


@pytest.mark.parametrize("stream", [False, True])
def test_a_dropped_connection_ends_the_tree(client: Client, stream: bool) -> None:
    sock = client.start("setsid sleep 1000 & yes", stream=stream)
    wait_until(lambda: processes(client) >= 3)
    sock.close()
    wait_until(lambda: set(client.call("/health", "GET").values()) == {0})


def test_no_process_left_is_an_error_and_the_limit_still_holds(
    few_processes: WorkerProcess,
) -> None:
    client = few_processes.client()
    hog = client.start(HOG, timeout_ms=3000, grace_ms=100)

    def refused() -> bool:
        try:
            client.execute("true")
        except Refused as refusal:
            assert (refusal.status, refusal.code) == (429, "too_many_commands")  # noqa: PT017
            return True
        return False

    wait_until(refused)
    assert parse_exit(read_response(hog))["timed_out"] is True
    assert processes(client) == 0
    assert client.execute("echo fine")["stdout"] == b"fine\n"


@pytest.mark.finding(10)
def test_memory_running_out_is_said(start, tmp_path: Path) -> None:
    events = tmp_path / "memory.events"
    events.write_text("low 0\noom 0\noom_kill 0\n")
    client = start("--memory-events", str(events)).client()
    client.claim()
    count = f"echo 'oom_kill 1' > {events}"
    assert client.execute(f"{count}; kill -9 $$")["killed_by"] == "out_of_memory"
    events.write_text("oom_kill 1\n")
    assert client.execute("kill -9 $$")["killed_by"] is None
    assert client.execute(f"echo 'oom_kill 2' > {events}; exit 2")["killed_by"] == "out_of_memory"
    succeeded = client.execute(f"echo 'oom_kill 3' > {events}")
    assert (succeeded["killed_by"], succeeded["oom_kills"]) == (None, 1)
    assert client.execute("true")["oom_kills"] == 0
    count = f"echo 'oom_kill 4' > {events}"
    assert client.execute(f"{count}; kill -9 $PPID; sleep 9")["killed_by"] == "out_of_memory"
