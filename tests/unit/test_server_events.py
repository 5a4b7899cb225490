"""An event stream is read the same whatever the pieces it comes in."""

from __future__ import annotations

import pytest

from oneseek_sandbox.server_events import EventParser


def parsed(chunks):
    parser = EventParser()
    return [event for chunk in chunks for event in parser.feed(chunk)]


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_are_whole_however_the_bytes_arrive(size):
    stream = (
        b'event: stdout\ndata: {"text": "a\\n\xc2\xa0\xe2\x80\xa8b"}\n\n'
        b": keep-alive\n\n"
        b'event: exit\r\ndata: {"exit_code":\r\ndata:  3}\r\n\r\n'
    )
    chunks = [stream[at : at + size] for at in range(0, len(stream), size)]
    assert parsed(chunks) == [
        ("stdout", {"text": "a\n\u00a0\u2028b"}),
        ("exit", {"exit_code": 3}),
    ]


def test_an_event_that_never_ended_is_not_given():
    assert parsed([b'event: exit\ndata: {"exit_code": 0}\n']) == []
