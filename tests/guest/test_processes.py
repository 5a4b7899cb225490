"""Managed processes: started, left, and found again with their output."""

from __future__ import annotations

import contextlib
import threading
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import (
    Client,
    Refused,
    WorkerProcess,
    wait_until,
    worker_process,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

from tests.guest.calls import refusal
from tests.guest.managed import (
    attach,
    describe,
    give,
    read_to_end,
    refused_with,
    start,
    text,
)


@pytest.fixture
def worker_of() -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker with options."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(worker_process(*options))


def test_a_process_is_started_left_and_found_again(client: Client, worker: WorkerProcess) -> None:
    begun = start(client, "echo one; echo two >&2; sleep 0.2; echo three; exit 7", "a")
    other = worker.client()
    process = describe(other, "a")
    assert (process["pid"], process["started_ms"]) == (begun["pid"], begun["started_ms"])
    assert process["command"].startswith("echo one")
    events, process = read_to_end(other, "a")
    assert text(events, "stdout") == b"one\nthree\n"
    assert text(events, "stderr") == b"two\n"
    assert (process["state"], process["exit_code"], process["leftover"]) == ("exited", 7, False)
    assert process["ended_ms"] >= process["started_ms"]
    assert read_to_end(client, "a")[0] == events, "every reader reads the same"


def test_the_same_id_is_the_same_process_in_the_background_or_not(client: Client) -> None:
    command = "echo ran >> log; sleep 0.3; cat log"
    begun = start(client, command, "a", timeout_ms=30_000)
    assert start(client, command, "a", timeout_ms=30_000) == begun
    assert client.execute(command, request_id="a")["stdout"] == b"ran\n"
    assert start(client, command, "a", timeout_ms=30_000) == begun
    assert refusal(lambda: start(client, "true", "a")) == (409, "request_id_conflict")


def test_a_plain_command_with_an_id_is_found_too(client: Client) -> None:
    client.execute("echo out; echo err >&2", request_id="a")
    events, process = read_to_end(client, "a")
    assert (text(events, "stdout"), text(events, "stderr")) == (b"out\n", b"err\n")
    assert process["exit_code"] == 0


def test_output_is_read_as_it_comes(client: Client, worker: WorkerProcess) -> None:
    start(client, ["sh", "-c", "while read line; do echo got $line; done"], "a", stdin_open=True)
    reader = worker.client()
    offset = written = 0
    for number in range(5):
        line = b"%d\n" % number
        written = give(client, "a", line, written)["stdin_offset"]
        answer = attach(reader, "a", offset)
        assert text(answer["events"]) == b"got " + line
        offset = answer["next_offset"]
    give(client, "a", b"", written, close=True)
    assert attach(reader, "a", offset)["process"]["state"] == "exited"


def test_a_program_that_cannot_be_run_is_an_error_and_may_be_tried_again(
    client: Client, home: Path
) -> None:
    assert refusal(lambda: start(client, ["./tool"], "a")) == (409, "cannot_execute")
    assert refusal(lambda: describe(client, "a")) == (404, "process_not_found")
    assert refusal(lambda: start(client, "true", "a", cwd=f"{home}/no"))[1] == "file_not_found"
    client.write(f"{home}/tool", b"#!/bin/sh\necho there\n", mode="0755")
    start(client, ["./tool"], "a")
    assert text(read_to_end(client, "a")[0]) == b"there\n"


@pytest.mark.parametrize("path", ["/attach", "/input", "/signal"])
def test_what_is_not_known_is_404(client: Client, path: str) -> None:
    fields = {
        "/attach": {"offset": 0, "wait_ms": 0, "max_bytes": 1},
        "/input": {"data": "", "offset": 0},
        "/signal": {"signal": "TERM"},
    }[path]
    call = lambda: client.call(path, request_id="no", **fields)  # noqa: E731
    assert refusal(call) == (404, "process_not_found")


def test_an_offset_ahead_of_the_end_is_refused(client: Client) -> None:
    client.execute("echo four", request_id="a")
    with pytest.raises(Refused) as refused:
        attach(client, "a", 6)
    assert (refused.value.status, refused.value.code) == (400, "offset_ahead")
    assert refused.value.details == {"next_offset": 5}
    assert attach(client, "a", 5)["events"] == []
    assert attach(client, "a", None)["next_offset"] == 5


@pytest.mark.parametrize("size", [70_000, 200_000, 1_000_000])
def test_of_a_long_log_the_beginning_and_the_end_are_kept(client: Client, size: int) -> None:
    script = f"yes 0123456 | head -c {size}; yes abcdefg | head -c 8000"
    client.execute(script, request_id="a", log_bytes=100_000, max_output_bytes=10)
    events, process = read_to_end(client, "a", max_bytes=7777)
    whole = (b"0123456\n" * (size // 8 + 1))[:size] + b"abcdefg\n" * 1000
    gaps = [event["gap"] for event in events if "gap" in event]
    kept = 65_536
    if len(whole) <= kept + 100_000:
        assert gaps == []
        assert text(events) == whole
    else:
        assert gaps == [{"from": kept, "to": len(whole) - 100_000}]
        assert text(events) == whole[:kept] + whole[-100_000:]
    assert process["log"] == {"first_offset": 0, "next_offset": len(whole)}


def test_a_process_never_waits_for_a_reader(client: Client) -> None:
    start(client, "yes | head -c 20000000; touch done; sleep 600", "a")
    wait_until(lambda: client.execute("ls done")["exit_code"] == 0)
    answer = attach(client, "a", 0, max_bytes=100_000)
    assert answer["process"]["state"] == "running"
    assert answer["process"]["log"]["next_offset"] == 20_000_000


def test_background_processes_leave_room_for_commands(
    worker_of: Callable[..., WorkerProcess],
) -> None:
    client = worker_of("--max-commands", "6").client()
    client.claim()
    for number in range(3):
        start(client, "sleep 600", f"p{number}")
    assert refusal(lambda: start(client, "sleep 600", "p3")) == (429, "too_many_commands")
    assert client.execute("echo room")["stdout"] == b"room\n"


def test_the_list_is_by_start_and_in_parts(client: Client) -> None:
    for number in range(5):
        client.execute(f"exit {number}", request_id=f"p{number}")
    start(client, "sleep 600", "last")
    first = client.call("/processes", limit=4)
    assert [process["request_id"] for process in first["processes"]] == ["p0", "p1", "p2", "p3"]
    rest = client.call("/processes", limit=4, cursor=first["cursor"])
    assert [process["request_id"] for process in rest["processes"]] == ["p4", "last"]
    assert rest["cursor"] is None
    running = client.call("/processes", limit=4, state="running")["processes"]
    assert [process["request_id"] for process in running] == ["last"]


def test_too_many_readers_are_refused(client: Client, worker: WorkerProcess) -> None:
    start(client, "sleep 600", "a")

    def read() -> None:
        with worker.client() as reader:
            while refused_with(lambda: attach(reader, "a", wait_ms=60_000), "too_many_streams"):
                pass

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        fifth = lambda: attach(client, "a", wait_ms=1)  # noqa: E731
        wait_until(lambda: refused_with(fifth, "too_many_streams"))
        assert attach(client, "a", wait_ms=0)["events"] == []
    finally:
        client.call("/signal", request_id="a", signal="KILL")
        for thread in threads:
            thread.join()


def test_a_thousand_ended_processes_take_little_memory(
    client: Client, first: WorkerProcess
) -> None:
    client = first.client()
    client.claim()
    client.execute("true")
    before = anonymous_kib(first.worker_pid)
    for number in range(1100):
        client.execute(["echo", "x"], request_id=f"number {number}")
    assert (anonymous_kib(first.worker_pid) - before) <= 4 * 1024
    listed = client.call("/processes", limit=1000)["processes"]
    assert (len(listed), listed[0]["request_id"]) == (1000, "number 100")


def anonymous_kib(pid: int) -> int:
    with open(f"/proc/{pid}/status") as status:
        return sum(int(line.split()[1]) for line in status if line.startswith("RssAnon"))


def test_logs_together_are_bounded(client: Client) -> None:
    for number in range(20):
        client.execute("yes | head -c 1500000", request_id=f"p{number}", max_output_bytes=10)
    sizes = []
    for number in range(20):
        log = describe(client, f"p{number}")["log"]
        events = attach(client, f"p{number}", log["first_offset"], max_bytes=1)["events"]
        sizes.append(1_000_000 if events else 0)
        assert log["next_offset"] == 1_500_000
    assert 0 < sum(sizes) <= 16 * 1024 * 1024
    assert sizes == sorted(sizes), "the oldest lose theirs first"


def test_a_process_that_prints_while_it_ends_is_read_whole(client: Client) -> None:
    for number in range(20):
        start(client, f"echo {number}; exec echo end", f"p{number}")
        assert text(read_to_end(client, f"p{number}")[0]) == b"%d\nend\n" % number
