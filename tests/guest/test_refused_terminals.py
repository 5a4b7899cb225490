"""Terminals that cannot be, and what terminals do not do."""

from __future__ import annotations

import os
from typing import Any

import pytest
from tests.guest.calls import refusal
from tests.guest.client import Client, WorkerProcess, execute_fields, wait_until, worker_process
from tests.guest.managed import describe, give, read_to_end
from tests.guest.typist import SIZE, open_terminal


def test_only_so_many_are_open_at_a_time(client: Client, worker: WorkerProcess) -> None:
    for number in range(8):
        open_terminal(client, "sleep 600", str(number))
    assert refusal(lambda: open_terminal(client, "true", "more")) == (429, "too_many_commands")
    assert client.execute("echo there is room")["exit_code"] == 0
    client.call("/signal", request_id="3", signal="KILL")
    wait_until(lambda: describe(client, "3")["state"] == "exited")
    open_terminal(client, "true", "more")
    read_to_end(client, "more")


@pytest.mark.parametrize(
    "terminal",
    [
        {"columns": 0, "rows": 20},
        {"columns": 80, "rows": 1001},
        {"columns": 80},
        {"columns": 80.0, "rows": 20},
        {"columns": True, "rows": 20},
        {"columns": 80, "rows": 20, "color": True},
        {"columns": 80, "rows": 20, "term": "../x"},
        {"columns": 80, "rows": 20, "term": ""},
        {"columns": 10**30, "rows": 20},
        [80, 20],
        "80x20",
        True,
    ],
)
def test_absurd_terminals_are_refused(client: Client, terminal: Any) -> None:
    answer = refusal(lambda: open_terminal(client, "true", "a", terminal=terminal))
    assert answer == (400, "invalid_request")
    sized = {"resize": terminal}
    open_terminal(client, "sleep 600", "b")
    assert refusal(lambda: give(client, "b", b"x", 0, **sized)) == (400, "invalid_request")
    assert describe(client, "b")["stdin_offset"] == 0, "nothing of it was taken"


def test_what_does_not_go_with_a_terminal_is_refused(client: Client) -> None:
    for fields in (
        {"stdin": "x"},
        {"stdin_path": "x"},
        {"stdin_open": False},
        {"background": False},
    ):
        answer = refusal(lambda fields=fields: open_terminal(client, "true", "a", **fields))
        assert answer == (400, "invalid_request")
    wanted = {"timeout_ms": None, "background": True, "stdin_open": True, "request_id": "pipe"}
    client.call("/execute", **execute_fields("cat", **wanted))
    assert refusal(lambda: give(client, "pipe", b"", 0, resize=SIZE)) == (400, "invalid_request")
    signal = {"request_id": "pipe", "signal": "INT", "to": "foreground"}
    assert refusal(lambda: client.call("/signal", **signal)) == (400, "invalid_request")


def test_the_same_id_is_the_same_terminal(client: Client) -> None:
    begun = open_terminal(client, "sleep 600", "a")
    assert open_terminal(client, "sleep 600", "a") == begun
    other = {"terminal": {**SIZE, "rows": 21}}
    conflict = refusal(lambda: open_terminal(client, "sleep 600", "a", **other))
    assert conflict == (409, "request_id_conflict")


def test_a_program_that_does_not_exist_leaves_nothing(client: Client) -> None:
    answer = refusal(lambda: open_terminal(client, ["no-such-program"], "a"))
    assert answer == (409, "cannot_execute")
    assert refusal(lambda: describe(client, "a")) == (404, "process_not_found")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_a_sandbox_without_terminals_says_so() -> None:
    hidden = 'mount -t tmpfs none /dev/pts && exec "$@"'
    prefix = ["unshare", "--mount", "--", "sh", "-c", hidden, "sh"]
    with worker_process(prefix=lambda _: prefix) as worker:
        client = worker.client()
        client.claim()
        answer = refusal(lambda: open_terminal(client, "true", "a"))
        assert answer == (409, "cannot_execute")
        assert refusal(lambda: describe(client, "a")) == (404, "process_not_found")
        assert client.execute("echo well")["stdout"] == b"well\n"
