"""Keys on their way to a terminal elsewhere: the way out, and what is sent twice."""

from __future__ import annotations

import base64
import threading

import pytest

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.typing_ahead import Escape, Typing


@pytest.mark.parametrize(
    ("keys", "sent", "left"),
    [
        (b"~.", b"", True),
        (b"ls\r~.", b"ls\r", True),
        (b"ls\n~.more", b"ls\n", True),
        (b"a~.", b"a~.", False),
        (b"~~.", b"~.", False),
        (b"~x~.", b"~x~.", False),
        (b"\r~\r~.", b"\r~\r", True),
        (b"cd ~\r", b"cd ~\r", False),
    ],
)
def test_the_way_out_is_at_the_beginning_of_a_line(keys, sent, left):
    assert Escape().feed(keys) == (sent, left)
    escape, one_by_one, is_left = Escape(), b"", False
    for key in keys:
        if not is_left:
            more, is_left = escape.feed(bytes((key,)))
            one_by_one += more
    assert (one_by_one, is_left) == (sent, left)


class Process:
    """Takes input as a server does, with failures that were planned."""

    def __init__(self, *failures):
        self.typed = b""
        self.failures = list(failures)
        self.sizes = []
        self.changed = threading.Condition()

    def call(self, verb, fields):
        assert verb == "input"
        failure = self.failures.pop(0) if self.failures else None
        if failure == "refused":
            raise CommandLineError("full", code="input_full", retryable=True)
        if failure == "closed":
            raise CommandLineError("gone", code="process_ended")
        if failure == "forbidden":
            raise CommandLineError("no", code="forbidden")
        data = base64.b64decode(fields["data"])
        assert fields["offset"] <= len(self.typed)
        with self.changed:
            self.typed += data[len(self.typed) - fields["offset"] :]
            if fields["resize"]:
                self.sizes.append(fields["resize"])
            self.changed.notify()
        if failure == "answer lost":
            raise CommandLineError("broken", retryable=True)
        return {"stdin_offset": len(self.typed)}

    def wait_for(self, reached):
        with self.changed:
            assert self.changed.wait_for(reached, 30)


def typing_into(process, offset=0):
    failed = []
    typing = Typing(process, {"request_id": "a"}, offset, failed.append)
    typing.start()
    return typing, failed


@pytest.mark.parametrize("failure", ["refused", "answer lost"])
def test_keys_are_typed_once_and_in_order(failure):
    process = Process(None, failure, failure)
    typing, failed = typing_into(process)
    for key in b"echo hello\r":
        typing.add(bytes((key,)))
    typing.add(size={"columns": 80, "rows": 24})
    process.wait_for(lambda: process.typed == b"echo hello\r" and process.sizes)
    assert not failed


def test_keys_are_not_lost_to_one_who_typed_meanwhile():
    process = Process()
    process.typed = b"another typed much more than these"
    typing, _ = typing_into(process, offset=5)
    typing.add(b"mine")
    process.wait_for(lambda: process.typed.endswith(b"mine"))


def test_what_ends_the_typing_is_told_but_not_that_the_process_ended():
    for failure, told in (("closed", 0), ("forbidden", 1)):
        process = Process(failure)
        failed = []
        done = threading.Event()

        class Watched(Typing):
            def _send(self):
                super()._send()
                done.set()  # noqa: B023

        typing = Watched(process, {"request_id": "a"}, 0, failed.append)
        typing.start()
        typing.add(b"x")
        assert done.wait(30)
        assert len(failed) == told
