"""What is new of a process's output: as it was printed, bounded, and never in halves."""

from __future__ import annotations

import base64

import pytest

from oneseek_sandbox.agent_tools.printed import last_line, read_printed
from oneseek_sandbox.models import AttachAnswer, GapEvent, LogAnswer, OutputEvent, ProcessAnswer

LEFT_OUT = "\n[... output left out ...]\n"


class Log:
    """A log of which some is not kept any more, read in parts."""

    def __init__(self, *pieces, gap=(0, 0), state="running"):
        self.pieces = pieces
        self.gap = gap
        self.state = state
        self.end = sum(len(data) for _, data in pieces)
        self.read = 0

    async def __call__(self, *, offset, max_bytes):
        assert 1 <= max_bytes <= 262_144
        events, position, start = [], offset, 0
        if self.gap[0] <= position < self.gap[1]:
            events.append(GapEvent(start=position, end=self.gap[1]))
            position = self.gap[1]
        most = position + max_bytes
        if position < self.gap[0]:
            most = min(most, self.gap[0])
        for name, data in self.pieces:
            part = data[max(0, position - start) : max(0, most - start)]
            if part:
                text = base64.b64encode(part).decode()
                events.append(OutputEvent(type=name, text=text))
                position += len(part)
                self.read += len(part)
            start += len(data)
        log = LogAnswer(first_offset=0, next_offset=self.end)
        process = ProcessAnswer(request_id="r", state=self.state, log=log)
        return AttachAnswer(events=events, next_offset=position, process=process)


async def test_streams_are_told_apart():
    log = Log(("stdout", b"one\n"), ("stderr", b"no\n"), ("stdout", b"two\n"))
    printed = await read_printed(log, 0, 100)
    assert (printed.stdout, printed.stderr, printed.next_offset) == ("one\ntwo\n", "no\n", 11)
    assert (printed.stdout_bytes, printed.stderr_bytes) == (8, 3)
    printed = await read_printed(log, 6, 100)
    assert (printed.stdout, printed.stderr, printed.next_offset) == ("two\n", "\n", 11)


async def test_nothing_new_is_nothing():
    printed = await read_printed(Log(("stdout", b"one")), 3, 100)
    assert (printed.stdout, printed.stderr, printed.next_offset) == ("", "", 3)
    assert not printed.stdout_truncated
    assert printed.left_out_bytes == 0


async def test_of_very_much_only_the_ends_are_read():
    log = Log(("stdout", b"a" * 1_000_000), ("stdout", b"b" * 1_000_000))
    printed = await read_printed(log, 10, 2000)
    head, tail = printed.stdout.split(LEFT_OUT)
    assert (set(head), set(tail)) == ({"a"}, {"b"})
    assert 1900 < len(printed.stdout) <= 2000
    assert printed.stdout_bytes == len(head + tail)
    assert printed.left_out_bytes == 1_999_990 - printed.stdout_bytes
    assert printed.next_offset == 2_000_000
    assert log.read < 2000


async def test_a_gap_is_booked_to_neither_stream():
    log = Log(("stdout", b"a" * 50_000), ("stderr", b"e" * 60_000))
    printed = await read_printed(log, 0, 2000)
    assert printed.stdout == "a" * printed.stdout_bytes + LEFT_OUT
    assert printed.stderr == LEFT_OUT.lstrip() + "e" * printed.stderr_bytes
    assert printed.stdout_truncated
    assert printed.stderr_truncated
    assert printed.stdout_bytes + printed.stderr_bytes + printed.left_out_bytes == 110_000
    assert len(printed.stdout) + len(printed.stderr) <= 2000


async def test_a_stream_that_is_silent_beside_a_gap_stays_empty():
    printed = await read_printed(Log(("stdout", b"a" * 9000)), 0, 2000)
    assert printed.stderr == ""
    assert printed.stderr_truncated  # Nobody knows what was in the gap.


async def test_what_is_printed_while_it_ends_is_bounded_too():
    log = Log(("stdout", b"a" * 3000))
    first = True

    async def growing(*, offset, max_bytes):
        nonlocal first
        answer = await log(offset=offset, max_bytes=max_bytes)
        if first:
            process = answer.process.model_copy(
                update={"log": LogAnswer(first_offset=0, next_offset=1500)}
            )
            answer = answer.model_copy(update={"process": process})
        first, log.state = False, "exited"
        return answer

    printed = await read_printed(growing, 0, 2000)
    assert len(printed.stdout) <= 2000
    assert printed.stdout_bytes + printed.left_out_bytes == printed.next_offset == 3000


async def test_what_is_not_kept_is_told_as_left_out():
    log = Log(("stdout", b"a" * 50), ("stderr", b"e" * 50), ("stdout", b"b" * 50), gap=(40, 120))
    printed = await read_printed(log, 0, 1000)
    assert printed.stdout == f"{'a' * 40}{LEFT_OUT}{'b' * 30}"
    assert printed.stdout_truncated
    assert (printed.stdout_bytes, printed.stderr_bytes, printed.left_out_bytes) == (70, 0, 80)
    printed = await read_printed(log, 60, 1000)
    assert printed.stdout == LEFT_OUT.lstrip() + "b" * 30
    assert (printed.stdout_bytes, printed.left_out_bytes) == (30, 60)


@pytest.mark.parametrize(
    ("data", "state", "text", "left"),
    [
        (b"a\xc3", "running", "a", 1),
        (b"a\xf0\x9f\x98", "running", "a", 3),
        (b"\xf0\x9f\x98", "running", "", 3),
        (b"a\xc3", "exited", "a\\xc3", 0),
        (b"a\xc3\xa9", "running", "aé", 0),
        (b"a\xff", "exited", "a\\xff", 0),
    ],
)
async def test_half_a_character_waits_for_the_rest(data, state, text, left):
    printed = await read_printed(Log(("stdout", data), state=state), 0, 100)
    assert printed.stdout == text
    assert printed.next_offset == printed.stdout_bytes == len(data) - left


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (b"", ""),
        (b"\n\n", ""),
        (b"one\ntwo", "two"),
        (b"one\ntwo\n\n  \n", "two"),
        (b"10 %\r20 %\r", "20 %"),
        (b"\xff", "\ufffd"),
        (b"one\n" + b"x" * 100_000, "x" * 16_384),
    ],
)
async def test_the_last_line_is_the_last_that_says_something(data, line):
    assert await last_line(Log(("stdout", data)), 0) == (line, len(data))
