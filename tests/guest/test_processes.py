"""Managed processes: started, left, found again with their output, spoken to and stopped."""

from __future__ import annotations

import base64
import contextlib
import itertools
import threading
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import (
    Client,
    Refused,
    WorkerProcess,
    execute_fields,
    wait_until,
    worker_process,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def worker_of() -> Iterator[Callable[..., WorkerProcess]]:
    """Starts a worker with options."""
    with contextlib.ExitStack() as stack:
        yield lambda *options: stack.enter_context(worker_process(*options))


def start(client: Client, command: str | list[str], request_id: str, **fields: Any) -> Any:
    """Start a process in the background, without a limit unless `timeout_ms` says one."""
    wanted = {"timeout_ms": None, "background": True, "request_id": request_id, **fields}
    return client.call("/execute", **execute_fields(command, **wanted))


def attach(client: Client, request_id: str, offset: int | None = 0, **fields: Any) -> Any:
    wanted = {"offset": offset, "wait_ms": 30_000, "max_bytes": 100_000, **fields}
    return client.call("/attach", request_id=request_id, **wanted)


def describe(client: Client, request_id: str) -> Any:
    (process,) = client.call("/processes", request_id=request_id, limit=10)["processes"]
    return process


def read_to_end(client: Client, request_id: str, **fields: Any) -> tuple[list[Any], Any]:
    """Return all events until the process has ended, and what is said of it then."""
    events: list[Any] = []
    offset = 0
    while True:
        answer = attach(client, request_id, offset, **fields)
        events += answer["events"]
        offset = answer["next_offset"]
        process = answer["process"]
        if process["state"] != "running" and offset == process["log"]["next_offset"]:
            return events, process


def text(events: list[Any], *names: str) -> bytes:
    """Return the output in events, of the named streams or of both."""
    wanted = names or ("stdout", "stderr")
    return b"".join(
        base64.b64decode(data) for event in events for name, data in event.items() if name in wanted
    )


def give(client: Client, request_id: str, data: bytes, offset: int, **fields: Any) -> Any:
    encoded = base64.b64encode(data).decode()
    return client.call("/input", request_id=request_id, data=encoded, offset=offset, **fields)


def refusal(call: Callable[[], object]) -> tuple[int, str]:
    with pytest.raises(Refused) as refused:
        call()
    return refused.value.status, refused.value.code


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


def test_input_that_is_sent_twice_is_taken_once(client: Client) -> None:
    start(client, "cat", "a", stdin_open=True)
    assert give(client, "a", b"hello ", 0)["stdin_offset"] == 6
    assert give(client, "a", b"hello ", 0)["stdin_offset"] == 6
    assert give(client, "a", b"lo world", 3)["stdin_offset"] == 11
    with pytest.raises(Refused) as refused:
        give(client, "a", b"!", 12)
    assert (refused.value.status, refused.value.code) == (409, "input_gap")
    assert refused.value.details["stdin_offset"] == 11
    give(client, "a", b"!", 11, close=True)
    events, process = read_to_end(client, "a")
    assert text(events) == b"hello world!"
    assert (process["stdin_open"], process["stdin_offset"]) == (False, 12)
    assert refusal(lambda: give(client, "a", b"x", 12)) == (409, "process_ended")


def test_input_to_a_closed_or_never_opened_stdin_is_refused(client: Client) -> None:
    start(client, "sleep 600", "never")
    assert refusal(lambda: give(client, "never", b"x", 0)) == (409, "stdin_closed")
    start(client, "exec <&-; sleep 600", "reader gone", stdin_open=True)
    offsets = itertools.count()
    more = lambda: give(client, "reader gone", b"x", next(offsets))  # noqa: E731
    wait_until(lambda: refused_with(more, "stdin_closed"))
    start(client, "sleep 600", "closed", stdin_open=True)
    give(client, "closed", b"x", 0, close=True)
    assert give(client, "closed", b"x", 0, close=True)["stdin_offset"] == 1
    assert refusal(lambda: give(client, "closed", b"y", 1)) == (409, "stdin_closed")


def refused_with(call: Callable[[], object], code: str) -> bool:
    try:
        call()
    except Refused as refused:
        return refused.code == code
    return False


def test_input_that_nobody_reads_is_bounded(client: Client) -> None:
    start(client, "sleep 600", "a", stdin_open=True)
    piece = b"x" * 200_000
    offset = 0
    with pytest.raises(Refused) as refused:
        for _ in range(20):
            offset = give(client, "a", piece, offset)["stdin_offset"]
    assert (refused.value.status, refused.value.code) == (429, "input_full")
    details = refused.value.details
    assert details["stdin_offset"] == details["pending"] <= 1024 * 1024
    assert describe(client, "a")["stdin_offset"] == details["stdin_offset"]


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


@pytest.mark.parametrize(
    ("name", "code"), [("TERM", 143), ("INT", 130), ("KILL", 137), ("USR1", 138), ("HUP", 129)]
)
def test_a_signal_reaches_the_process(client: Client, name: str, code: int) -> None:
    start(client, ["sleep", "600"], "a")
    assert client.call("/signal", request_id="a", signal=name)["delivered"] == 1
    assert read_to_end(client, "a")[1]["exit_code"] == code
    call = lambda: client.call("/signal", request_id="a", signal=name)  # noqa: E731
    assert refusal(call) == (409, "process_ended")


def test_a_signal_reaches_the_whole_tree_or_the_main_process(client: Client) -> None:
    script = "trap 'echo main' USR1; (trap 'echo child' USR1; while :; do sleep 0.05; done) & "
    start(client, script + "echo ready; while :; do wait; done", "a")
    offset = attach(client, "a", 0)["next_offset"]
    assert client.call("/signal", request_id="a", signal="USR1", to="main")["delivered"] == 1
    assert text(attach(client, "a", offset)["events"]) == b"main\n"
    assert client.call("/signal", request_id="a", signal="KILL")["delivered"] >= 2
    assert read_to_end(client, "a")[1]["exit_code"] == 137


def test_what_a_process_leaves_is_leftover_and_still_signalled(client: Client) -> None:
    start(client, "sleep 600 > /dev/null 2>&1 & echo $!", "a")
    events, process = read_to_end(client, "a")
    left = int(text(events))
    assert (process["state"], process["leftover"]) == ("exited", True)
    assert client.call("/signal", request_id="a", signal="TERM")["delivered"] == 1
    wait_until(lambda: client.execute(f"kill -0 {left}")["exit_code"] != 0)
    call = lambda: client.call("/signal", request_id="a", signal="TERM")  # noqa: E731
    wait_until(lambda: refused_with(call, "process_ended"))


@pytest.mark.parametrize("fields", [{"signal": "SEGV"}, {"signal": "9"}, {"to": "foreground"}])
def test_a_signal_that_is_none_is_refused(client: Client, fields: dict[str, str]) -> None:
    start(client, "sleep 600", "a")
    wanted = {"signal": "TERM", **fields}
    assert refusal(lambda: client.call("/signal", request_id="a", **wanted))[1] == "invalid_request"
    assert describe(client, "a")["state"] == "running"


def test_a_limit_ends_a_background_process_and_cancel_does_too(client: Client) -> None:
    start(client, "sleep 600", "limited", timeout_ms=200)
    start(client, "sleep 600", "free")
    assert client.call("/health", "GET")["lasting"] <= 1
    process = read_to_end(client, "limited")[1]
    assert (process["exit_code"], process["killed_by"]) == (124, "timeout")
    assert process["deadline_ms"] == process["started_ms"] + 200
    assert client.call("/health", "GET")["lasting"] == 0
    assert describe(client, "free")["deadline_ms"] is None
    assert client.call("/cancel", request_id="free") == {"cancelled": True}
    assert read_to_end(client, "free")[1]["killed_by"] == "cancelled"


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
