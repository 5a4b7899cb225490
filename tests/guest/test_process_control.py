"""Managed processes are spoken to by their stdin, and stopped by signals and limits."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import (
    Client,
    Refused,
    wait_until,
)

if TYPE_CHECKING:
    pass

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


def test_input_of_somebody_else_is_no_repeat(client: Client) -> None:
    start(client, "cat", "a", stdin_open=True)
    assert give(client, "a", b"of one\n", 0)["stdin_offset"] == 7
    for data, offset in ((b"of two\n", 0), (b"two", 3), (b"of one at once", 0)):
        with pytest.raises(Refused) as refused:
            give(client, "a", data, offset)
        assert refused.value.code == "input_gap"
        assert refused.value.details["stdin_offset"] == 7
    assert give(client, "a", b"of one\nmore", 0)["stdin_offset"] == 11
    large = b"x" * 10_000
    for _ in range(2):
        assert give(client, "a", large, 11)["stdin_offset"] == 10_011
    assert refusal(lambda: give(client, "a", b"y" * 10, 10_005)) == (409, "input_gap")
    give(client, "a", b"", 10_011, close=True)
    assert text(read_to_end(client, "a")[0]) == b"of one\nmore" + large


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
