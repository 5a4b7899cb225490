"""A `request_id` runs at most once, whatever becomes of connections."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
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


@pytest.fixture
def mode() -> str:
    """Only as in a sandbox: whose worker it is changes nothing about what it remembers."""
    return "first"


def test_a_repeat_returns_the_first_answer(client: Client, home: Path) -> None:
    command = "echo run >> log; date +%N"
    first = client.execute(command, request_id="a")
    assert client.execute(command, request_id="a") == first
    assert client.execute(command, request_id="a", stream=True) == first
    assert client.execute(command, request_id="b")["stdout"] != first["stdout"]
    assert (home / "log").read_text() == "run\nrun\n"


def test_a_repeat_after_a_dropped_connection_returns_the_answer(client: Client, home: Path) -> None:
    command = "touch started; sleep 0.5; echo run >> log; echo out; exit 3"
    client.start(command, request_id="a").close()
    wait_until((home / "started").exists)
    answer = client.execute(command, request_id="a")
    assert (answer["exit_code"], answer["stdout"]) == (3, b"out\n")
    assert (home / "log").read_text() == "run\n"


def test_a_repeat_waits_for_the_running_command(client: Client, home: Path) -> None:
    command = "touch started; sleep 0.5; echo run >> log"
    first = client.start(command, request_id="a")
    wait_until((home / "started").exists)
    second = client.execute(command, request_id="a")
    assert parse_exit(read_response(first)) == second
    assert (home / "log").read_text() == "run\n"


def test_many_at_once_run_once(worker: WorkerProcess, home: Path) -> None:
    clients = [worker.client() for _ in range(20)]

    def execute(client: Client) -> dict[str, object]:
        return client.execute("echo run >> log; sleep 0.2; echo $$", request_id="a")

    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(execute, clients))
    assert all(answer == answers[0] for answer in answers)
    assert (home / "log").read_text() == "run\n"


@pytest.mark.parametrize(
    "change",
    [{"env": {"A": "1"}}, {"stdin": ""}, {"timeout_ms": 5}, {"cwd": "home"}, {"command": "false"}],
    ids=str,
)
def test_the_same_id_with_another_request_is_a_conflict(
    client: Client, home: Path, change: dict[str, object]
) -> None:
    change = {key: str(home) if value == "home" else value for key, value in change.items()}
    client.execute("true", request_id="a")
    with pytest.raises(Refused) as refused:
        client.execute(**{"command": "true", "request_id": "a", **change})
    assert (refused.value.status, refused.value.code) == (409, "request_id_conflict")


def test_an_evicted_answer_is_an_error_and_no_second_run(client: Client, home: Path) -> None:
    command = "echo run >> log; yes | head -c 6000000"
    for request_id in ("a", "b"):
        client.execute(command, request_id=request_id, max_output_bytes=6_000_000)
    with pytest.raises(Refused) as refused:
        client.execute(command, request_id="a", max_output_bytes=6_000_000)
    assert (refused.value.status, refused.value.code) == (409, "answer_evicted")
    answer = client.execute(command, request_id="b", max_output_bytes=6_000_000)
    assert answer["stdout_bytes"] == 6_000_000
    assert (home / "log").read_text() == "run\nrun\n"


def test_a_command_that_did_not_start_may_be_tried_again(client: Client, home: Path) -> None:
    with pytest.raises(Refused):
        client.execute("pwd", request_id="a", cwd=f"{home}/later")
    (home / "later").mkdir()
    (home / "later").chmod(0o755)
    assert client.execute("pwd", request_id="a", cwd=f"{home}/later")["exit_code"] == 0


def test_a_cancelled_command_is_not_run_again(client: Client, worker: WorkerProcess) -> None:
    sock = client.start("sleep 1000", request_id="a")
    wait_until(lambda: client.call("/health", "GET")["commands"] == 1)
    worker.client().call("/cancel", request_id="a")
    first = parse_exit(read_response(sock))
    assert client.execute("sleep 1000", request_id="a") == first
