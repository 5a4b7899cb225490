"""Lines of any length, in pieces of any size, at a cost that grows as their length does."""

from __future__ import annotations

import asyncio
import sys

import pytest

from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.lines import LineSplitter
from oneseek_sandbox.server_events import EventParser
from oneseek_sandbox.workers.bodies import read_lines

PIECE = 1024
SHORT = 64 * 1024
TIMES_LONGER = 8


class Response:
    """An answer whose body comes in pieces, as a worker's does."""

    def __init__(self, body, piece=PIECE):
        self._body = body
        self._piece = piece

    async def pieces(self):
        for start in range(0, len(self._body), self._piece):
            yield self._body[start : start + self._piece]


def pieces(body, size=PIECE):
    return (body[start : start + size] for start in range(0, len(body), size))


def work(action, argument):
    """Return how many bytes and characters were looked at: the sizes of all whose methods ran."""
    looked_at = 0

    def count(_frame, event, function):
        nonlocal looked_at
        subject = getattr(function, "__self__", None) if event == "c_call" else None
        if isinstance(subject, bytes | bytearray | str):
            looked_at += len(subject)

    sys.setprofile(count)
    try:
        action(argument)
    finally:
        sys.setprofile(None)
    return looked_at


def growth(action, make_body):
    short, long = make_body(SHORT), make_body(SHORT * TIMES_LONGER)
    return work(action, long) / work(action, short)


class SearchesAgain:
    """A splitter that looks at all that waits whenever a piece comes."""

    def __init__(self):
        self.rest = b""

    def feed(self, piece):
        *lines, self.rest = (self.rest + piece).split(b"\n")
        return lines


def test_a_reader_that_looks_at_everything_again_is_seen():
    def read(body):
        splitter = SearchesAgain()
        assert len([line for piece in pieces(body) for line in splitter.feed(piece)]) == 1

    assert growth(read, lambda size: b"a" * size + b"\n") > 7 * TIMES_LONGER


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize("body", [b"", b"one", b"one\n", b"one\n\nthree\nrest", b"\n\n"])
def test_lines_are_the_same_whatever_the_pieces(body, size):
    splitter = LineSplitter()
    lines = [line for piece in pieces(body, size) for line in splitter.feed(piece)]
    *expected, rest = body.split(b"\n")
    assert (lines, splitter.waiting) == (expected, len(rest))


@pytest.mark.finding(11)
def test_an_event_eight_times_as_long_costs_about_eight_times_as_much():
    def parse(body):
        parser = EventParser()
        (event,) = [event for piece in pieces(body) for event in parser.feed(piece)]
        assert len(event[1]["text"]) > SHORT - 100

    ratio = growth(parse, lambda size: b'event: exit\ndata: {"text": "%b"}\n\n' % (b"a" * size))
    assert ratio < 1.1 * TIMES_LONGER


@pytest.mark.finding(11)
def test_a_workers_line_eight_times_as_long_costs_about_eight_times_as_much():
    def read(body):
        async def run():
            lines = [line async for line in read_lines(Response(body), 1 << 30, 600)]
            assert len(lines) == 1

        asyncio.run(run())

    ratio = growth(read, lambda size: b"a" * size + b"\n")
    assert ratio < 1.1 * TIMES_LONGER


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
@pytest.mark.parametrize("size", [1, 7, 1000])
def test_events_are_the_same_whatever_the_pieces(newline, size):
    body = newline.join(
        [b"event: stdout", b'data: {"text":', b'data: "a"}', b"", b": comment", b"", b"event: x"]
    )
    parser = EventParser()
    events = [event for piece in pieces(body, size) for event in parser.feed(piece)]
    assert events == [("stdout", {"text": "a"})]


async def test_a_line_that_never_ends_is_refused():
    with pytest.raises(SandboxUnavailableError, match="line over 1000 bytes"):
        async for _ in read_lines(Response(b"a" * 5000, 100), 1000, 10):
            pass
