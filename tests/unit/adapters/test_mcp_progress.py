"""What an MCP client is told of the progress of a command: it rises, and it is harmless text."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from oneseek_sandbox.adapters import mcp_progress
from oneseek_sandbox.adapters.mcp_progress import Progress, message


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("  collecting 3 of 10 ", "collecting 3 of 10"),
        ("\x1b[1;31mred\x1b[0m\x1b[K", "red"),
        ("\x1b]0;title\x07shown", "shown"),
        ("\x1b]8;;https://evil.example\x1b\\link\x1b]8;;\x1b\\", "link"),
        ("\x1b]52;c;aGk", ""),
        ("\x9b31mred\x1b(B\x1bc", "red"),
        ("a\tb\x00\x08\x7f\u202ec\u2028d", "a bcd"),
        ("\ud800x", "x"),
        ("é😀", "é😀"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\x1b[" * 100_000, ""),
        ("\x1b]" * 100_000, ""),
    ],
)
def test_a_message_is_text_without_control_characters(line, told):
    assert message(line) == told


@pytest.fixture
def session():
    class Session:
        def __init__(self):
            self.sent = []

        async def report_progress(self, progress, total=None, message=None):
            self.sent.append((progress, message))

    return Session()


@pytest.fixture
def clock(monkeypatch):
    now = SimpleNamespace(seconds=100.0)
    monkeypatch.setattr(mcp_progress, "time", SimpleNamespace(monotonic=lambda: now.seconds))
    return now


@pytest.mark.parametrize(
    ("meta", "wanted"),
    [(None, False), ({}, False), ({"progress_token": 0}, True), ({"progress_token": "t"}, True)],
)
def test_it_is_sent_to_whoever_asks(meta, wanted):
    context = SimpleNamespace(session=None, meta=meta)
    assert (Progress.wanted(context) is not None) == wanted


async def test_it_strictly_rises_and_repeats_itself_now_and_then(session, clock):
    progress = Progress(SimpleNamespace(session=session))
    for seconds, line in [(1, "a"), (1, "b"), (2, "b"), (3, "b"), (6.9, "b"), (7, "b"), (8, "")]:
        clock.seconds = 100.0 + seconds
        await progress.tell(line)
    assert session.sent == [(1, "a"), (2, "b"), (7, "b"), (8, None)]
