"""`exec --background`, `ps`, `logs`, `attach` and `signal`, as a person types them."""

from __future__ import annotations

import json
import os
import pty
import re
import secrets
import select
import subprocess
import sys
import time
from typing import get_args

import pytest

from oneseek_sandbox.models.processes import SignalRequest
from oneseek_sandbox.output import without_control_characters

KEY = "key-of-processes"
PROGRAM = [sys.executable, "-m", "oneseek_sandbox.cli"]
TALKER = "echo ready; while read line; do echo got $line; done; echo end >&2; exit 3"


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY)


@pytest.fixture
def environment(server):
    known = {"ONESEEK_SANDBOX_URL": server.url, "ONESEEK_SANDBOX_KEY": KEY, "COLUMNS": "200"}
    return os.environ | known


@pytest.fixture
def thread():
    return f"cli-{secrets.token_hex(4)}"


@pytest.fixture
def shell(environment, thread):
    def shell(command, *arguments, stdin=b""):
        named = [*PROGRAM, command, "--thread", thread, *arguments]
        return subprocess.run(
            named, input=stdin, env=environment, capture_output=True, timeout=60, check=False
        )

    yield shell
    shell("release")


def started(shell, command, request_id, *options):
    done = shell("exec", "--background", "--request-id", request_id, *options, "--", command)
    assert (done.returncode, done.stdout) == (0, f"{request_id}\n".encode()), done.stderr


def processes(shell):
    return json.loads(shell("ps", "--json").stdout)["processes"]


def test_a_process_is_started_listed_read_and_stopped(shell):
    started(shell, "echo out; echo err >&2; sleep 600", "server")
    listed = shell("ps")
    assert [word in listed.stdout.decode() for word in ("server", "running", "sleep 600")] == [
        True
    ] * 3
    read = shell("logs", "server")
    deadline = time.monotonic() + 60
    while not (read.stdout and read.stderr) and time.monotonic() < deadline:
        read = shell("logs", "server")
    assert (read.returncode, read.stdout, read.stderr) == (0, b"out\n", b"err\n")
    assert shell("signal", "server", "term").stdout.startswith(b"sent to ")
    assert shell("logs", "--follow", "server").stdout == b"out\n"
    (process,) = processes(shell)
    assert (process["state"], process["exit_code"]) == ("exited", 143)
    again = shell("signal", "server")
    assert (again.returncode, b"process_ended" in again.stderr) == (1, True)


def test_attach_carries_input_and_output_both_ways(shell):
    started(shell, TALKER, "talker", "--stdin-open")
    done = shell("attach", "talker", stdin=b"one\ntwo\n")
    assert done.returncode == 3, done.stderr
    assert done.stdout.endswith(b"got one\ngot two\n")
    assert done.stderr == b"end\n"


def test_attach_carries_more_than_a_process_reads_at_a_time(shell):
    started(shell, "sleep 0.5; wc -c", "counter", "--stdin-open")
    done = shell("attach", "counter", stdin=b"x" * 3_000_000)
    assert (done.returncode, done.stdout) == (0, b"3000000\n"), done.stderr


def until_logged(shell, wanted):
    deadline = time.monotonic() + 60
    while (printed := shell("logs", "cat").stdout) != wanted:
        assert time.monotonic() < deadline, printed


def attached(environment, thread):
    named = [*PROGRAM, "attach", "--thread", thread, "cat"]
    return subprocess.Popen(named, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def give(server, thread, data, offset):
    fields = {"thread_id": thread, "request_id": "cat", "data": data, "offset": offset}
    with server.client() as client:
        client.post("/v1/sandbox/input", json=fields).raise_for_status()


def test_two_who_write_to_one_process_lose_nothing(shell, server, environment, thread):
    started(shell, "cat", "cat", "--stdin-open")
    with attached(environment, thread) as one:
        one.stdin.write(b"one\n")
        one.stdin.flush()
        until_logged(shell, b"one\n")
        give(server, thread, "two\n", 4)
        until_logged(shell, b"one\ntwo\n")
        one.communicate(b"three, longer than what the other one has written\n")
    until_logged(shell, b"one\ntwo\nthree, longer than what the other one has written\n")


def test_what_another_has_written_too_is_written_again(shell, server, environment, thread):
    started(shell, "cat", "cat", "--stdin-open")
    with attached(environment, thread) as one:
        one.stdin.write(b"one\n")
        one.stdin.flush()
        until_logged(shell, b"one\n")
        give(server, thread, "yes\nand more\n", 4)
        until_logged(shell, b"one\nyes\nand more\n")
        one.communicate(b"yes\n")
    until_logged(shell, b"one\nyes\nand more\nyes\n")


def test_logs_follow_to_the_end(shell):
    started(shell, "for n in 1 2 3; do echo $n; sleep 0.2; done", "counter")
    assert shell("logs", "-f", "counter").stdout == b"1\n2\n3\n"
    assert shell("logs", "--offset", "2", "counter").stdout == b"2\n3\n"


def test_what_is_unknown_is_told(shell):
    started(shell, "true", "a")
    for command, *arguments in (("logs", "no"), ("attach", "no"), ("signal", "no")):
        done = shell(command, *arguments)
        assert (done.returncode, b"process_not_found" in done.stderr) == (1, True)
    refused = shell("exec", "--stdin-open", "--", "cat")
    assert refused.returncode == 2


def test_the_help_lists_every_signal(shell):
    told = shell("signal", "--help").stdout.decode()
    known = get_args(SignalRequest.model_fields["signal"].annotation)
    assert set(known) <= set(re.findall(r"[A-Z0-9]+", told))


def test_a_terminal_is_not_sent_control_characters(shell, environment, thread):
    started(shell, r"printf 'a\033]52;c;aGk=\007\nb\tc\n'", "hostile")
    shell("logs", "-f", "hostile")
    shown = {}
    for option in ([], ["--raw"]):
        ours, theirs = pty.openpty()
        named = [*PROGRAM, "logs", "--thread", thread, *option, "hostile"]
        subprocess.run(named, stdout=theirs, env=environment, timeout=60, check=True)
        os.close(theirs)
        shown[bool(option)] = b""
        while select.select([ours], [], [], 0)[0]:
            try:
                shown[bool(option)] += os.read(ours, 65536)
            except OSError:
                break
        os.close(ours)
    assert shown[False] == b"a\\x1b]52;c;aGk=\\x07\r\nb\tc\r\n"
    assert b"\x1b]52;c;aGk=\x07" in shown[True]


@pytest.mark.parametrize(
    ("text", "shown"),
    [("a\nb\tc", "a\nb\tc"), ("\x1b[2J\r", "\\x1b[2J\\r"), ("ü\x9b\u202e", "ü\\x9b\\u202e")],
)
def test_control_characters_are_shown_as_escapes(text, shown):
    assert without_control_characters(text) == shown
