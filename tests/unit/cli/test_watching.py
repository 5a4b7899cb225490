"""What a process elsewhere prints, over connections that end, break, and stay away."""

from __future__ import annotations

import base64
import os
import select

import pytest

from oneseek_sandbox.cli import watching
from oneseek_sandbox.cli.failure import EXIT_UNREACHABLE, CommandLineError
from oneseek_sandbox.cli.watching import Watching

ENDED = ("exit", {"process": {"exit_code": 3}})


def output(data):
    return "stdout", {"text": base64.b64encode(data).decode()}


def broken():
    return CommandLineError("broken", EXIT_UNREACHABLE, retryable=True)


class Server:
    """Answers each attach with the next of its scripts: events, and what breaks them off."""

    def __init__(self, *scripts):
        self.scripts = list(scripts)
        self.offsets = []

    def attached(self, fields, *, silent_seconds):
        assert silent_seconds > 15
        self.offsets.append(fields["offset"])
        for step in self.scripts.pop(0) if self.scripts else [broken()]:
            if isinstance(step, Exception):
                raise step
            yield step


class Terminal:
    def __init__(self):
        self.shown = b""

    def show(self, data):
        self.shown += data


@pytest.fixture(autouse=True)
def hasty(monkeypatch):
    monkeypatch.setattr(watching, "_AGAIN_SECONDS", 0.01)
    monkeypatch.setattr(watching, "_LOST_SECONDS", 0.3)


def watched(server):
    """Watch until it is over; returns that, and what was shown."""
    wake, waker = os.pipe()
    terminal = Terminal()
    over = Watching(server, {"request_id": "a"}, 0, terminal, waker)
    over.start()
    assert select.select([wake], [], [], 30)[0]
    os.close(wake)
    os.close(waker)
    return over, terminal.shown


def test_it_goes_on_where_it_was_whatever_ended_the_connection():
    server = Server(
        [output(b"one"), ("again", {"next_offset": 3})],
        [output(b"two"), broken()],
        [broken()],
        [("gap", {"from": 6, "to": 100}), output(b"three"), broken()],
        [ENDED],
    )
    over, shown = watched(server)
    assert (over.process, over.error) == ({"exit_code": 3}, None)
    assert shown == b"onetwothree"
    assert server.offsets == [0, 3, 6, 6, 105]


def test_a_server_that_stays_away_is_given_up():
    over, shown = watched(Server([output(b"one")]))
    assert over.process is None
    assert (over.error.exit_status, shown) == (EXIT_UNREACHABLE, b"one")


def test_what_cannot_be_better_later_ends_it_at_once():
    over, _ = watched(Server([CommandLineError("lost", code="process_lost")]))
    assert over.error.code == "process_lost"


def test_whatever_else_goes_wrong_ends_it_too():
    over, _ = watched(Server([("stdout", {"no": "text"})]))
    assert "KeyError" in over.error.message
