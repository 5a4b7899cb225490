"""`shell`, on a terminal of the test's own: typed into, resized, left, come back to, cut off."""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys

import pytest
from tests.cli.person import PROGRAM, Person

from oneseek_sandbox.runtimes.local.liveness import first_process

KEY = "key-of-the-shells"
LEFT = b"\r~."


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(key=KEY)


@pytest.fixture
def environment(server):
    known = {"ONESEEK_SANDBOX_URL": server.url, "ONESEEK_SANDBOX_KEY": KEY, "TERM": "dumb"}
    return os.environ | known


@pytest.fixture
def thread():
    return f"shell-{secrets.token_hex(4)}"


@pytest.fixture
def run(environment, thread):
    def run(command, *arguments):
        named = [*PROGRAM, command, "--thread", thread, *arguments]
        return subprocess.run(named, env=environment, capture_output=True, timeout=60, check=False)

    yield run
    run("release")


@pytest.fixture
def sit_down(environment, thread, run):
    people = []

    def sit_down(*arguments, **options):
        people.append(Person(environment, "--thread", thread, *arguments, **options))
        return people[-1]

    yield sit_down
    for person in people:
        person.leave()


@pytest.fixture
def at_a_shell(sit_down):
    person = sit_down("-e", "PS1=$ ", "--", "bash", "--norc", "--noprofile")
    person.read_until(rb"\$ $")
    return person


def processes(run):
    return json.loads(run("ps", "--json").stdout)["processes"]


def test_a_shell_is_typed_into_and_ends_with_its_exit_code(at_a_shell):
    at_a_shell.type(b"echo a$((1+1))b; stty size; tty; echo $TERM\r")
    at_a_shell.read_until(rb"a2b\r\n20 90\r\n/dev/pts/\d+\r\ndumb\r\n\$ ")
    at_a_shell.type(b"sleep 600\r")
    at_a_shell.read_until(rb"sleep 600\r\n")
    at_a_shell.type(b"\x03")
    at_a_shell.read_until(rb"\^C\r\n\$ ")
    at_a_shell.type(b"exit 7\r")
    assert at_a_shell.ended() == 7


def test_without_a_command_it_is_a_shell(sit_down):
    person = sit_down()
    person.read_until(rb"\$ $")
    person.type(b"pwd; exit\r")
    person.read_until(rb"/workspace\r\n")
    assert person.ended() == 0


def test_one_argument_is_a_command_line_and_several_are_run(sit_down, run):
    run("exec", "--", "mkdir sub")
    person = sit_down("--", "echo one; exit 3")
    person.read_until(rb"one\r\n")
    assert person.ended() == 3
    person = sit_down("--cwd", "/workspace/sub", "--", "sh", "-c", "pwd; exit 4")
    person.read_until(rb"/workspace/sub\r\n")
    assert person.ended() == 4


def test_it_has_the_size_of_the_terminal_also_when_that_changes(sit_down):
    person = sit_down("--", "trap 'stty size' WINCH; echo ready; while :; do sleep 0.05; done")
    person.read_until(rb"ready\r\n")
    person.resize(132, 50)
    person.process.send_signal(signal.SIGWINCH)
    person.read_until(rb"50 132\r\n")


def test_it_is_left_and_come_back_to(at_a_shell, sit_down, run):
    at_a_shell.type(b"x=kept\r")
    at_a_shell.read_until(rb"\$ $")
    at_a_shell.type(LEFT)
    told = at_a_shell.read_until(rb"come back with: [^\r]*\r\n").decode()
    assert at_a_shell.ended() == 0
    (process,) = processes(run)
    assert (process["state"], process["terminal"]) == ("running", {"columns": 90, "rows": 20})
    words = told.partition("come back with: oneseek-sandbox shell ")[2].split()
    again = sit_down(*words[2:], size=(100, 30))
    again.type(b"echo still $x; stty size; exit 5\r")
    again.read_until(rb"still kept\r\n30 100\r\n")
    assert again.ended() == 5


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT], ids=lambda n: n.name
)
def test_a_signal_sets_the_terminal_back_and_leaves_the_shell(at_a_shell, run, number):
    at_a_shell.type(b"printf '\\033[?1049h\\033[?25l\\033[?2004h\\033[?1000h'\r")
    at_a_shell.read_until(rb"\x1b\[\?1000h")
    at_a_shell.process.send_signal(number)
    assert at_a_shell.ended() == 128 + number
    for sequence in (b"?1049l", b"?25h", b"?2004l", b"?1000l"):
        assert sequence in at_a_shell.shown
    assert [process["state"] for process in processes(run)] == ["running"]


FAULTY = """
import os
from oneseek_sandbox.cli.own_terminal import OwnTerminal
terminal = OwnTerminal()
with terminal.raw(os.pipe2(os.O_NONBLOCK)[1]):
    terminal.show(b"\\x1b[?25l\\x1b[?1049h")
    raise RuntimeError("a fault")
"""


def test_a_fault_of_its_own_sets_the_terminal_back(environment):
    person = Person(environment, FAULTY, program=(sys.executable, "-c"))
    try:
        assert person.ended() == 1
        for sequence in (rb"\x1b\[\?25l", rb"\x1b\[\?25h", rb"\x1b\[\?1049l", rb"RuntimeError"):
            person.read_until(sequence)
    finally:
        person.leave()


def test_what_was_typed_ahead_is_no_input_of_what_comes_next(at_a_shell):
    at_a_shell.type(b"exec sleep 0.3\r")
    at_a_shell.read_until(rb"0.3\r\n")
    at_a_shell.type(b"rm -rf here\r")
    at_a_shell.ended()
    os.set_blocking(at_a_shell.terminal, False)
    with pytest.raises(BlockingIOError):
        os.read(at_a_shell.terminal, 100)


def test_what_a_sandbox_prints_acts_on_no_clipboard_and_asks_for_no_answer(sit_down):
    hostile = r"printf 'a\033]52;c;cm0K\007b\033[6nc\033[cd\033[21te\033P$qm\033\\f\033[31mg\n'"
    person = sit_down("--", hostile)
    person.read_until(rb"abcdef\x1b\[31mg\r\n")
    assert person.ended() == 0
    for sequence in (b"52;", b"[6n", b"[c", b"21t", b"$q"):
        assert sequence not in person.seen
    assert b"\x1b[0m" in person.shown, "the colour is set back"


def test_what_runs_on_a_terminal_types_nothing_into_it(sit_down):
    program = "import fcntl, termios; fcntl.ioctl(0, termios.TIOCSTI, b'x')"
    person = sit_down("--", "python3", "-c", program)
    person.read_until(rb"PermissionError: \[Errno 1\]")
    assert person.ended() == 1


def test_a_flood_is_shown_to_its_end(sit_down):
    person = sit_down("--", "seq 200000; exit 3")
    person.read_until(rb"\n200000\r\n")
    assert person.ended() == 3


def test_a_long_text_is_typed_whole(at_a_shell):
    at_a_shell.type(b"stty -echo; echo rea''dy; sha256sum; echo\r")
    at_a_shell.read_until(rb"ready\r\n")
    lines = b"".join(b"%06d and some more text\r" % number for number in range(3000))
    for start in range(0, len(lines), 1000):
        at_a_shell.type(lines[start : start + 1000])
    at_a_shell.type(b"\x04")
    expected = hashlib.sha256(lines.replace(b"\r", b"\n")).hexdigest()
    at_a_shell.read_until(expected.encode())


def test_a_server_that_is_started_again_is_found_again(new_server, thread):
    server = new_server(key=KEY)
    known = {"ONESEEK_SANDBOX_URL": server.url, "ONESEEK_SANDBOX_KEY": KEY, "TERM": "dumb"}
    person = Person(os.environ | known, "--thread", thread, "-e", "PS1=$ ", "--", "bash", "--norc")
    try:
        person.read_until(rb"\$ $")
        server.kill()
        person.type(b"echo while it was away\r")
        server.start()
        person.read_until(rb"\r\nwhile it was away\r\n")
        person.type(b"exit 6\r")
        assert person.ended() == 6
    finally:
        person.leave()


def test_a_sandbox_that_ends_ends_it(at_a_shell, run):
    assert run("release").returncode == 0
    assert at_a_shell.ended() == 1
    assert b"sandbox_released" in at_a_shell.shown
    assert b"--attach" not in at_a_shell.shown, "there is nothing to come back to"


def test_a_time_limit_says_that_it_ended_the_shell(sit_down):
    person = sit_down("--timeout", "0.5", "--", "sleep 600")
    assert person.ended() == 124
    assert re.search(rb"timed out after \d+(\.\d+)? s \(--timeout\)", person.shown)


def test_a_shell_that_is_killed_says_why(at_a_shell, run):
    assert run("end-all").returncode == 0
    assert at_a_shell.ended() == 137
    assert re.search(rb"killed after \d+(\.\d+)? s: cancelled", at_a_shell.shown)


def test_a_restart_of_the_sandbox_ends_it(at_a_shell, run, server):
    for status in server.home.glob("sandboxes/*/status"):
        os.kill(first_process(status), signal.SIGKILL)
    run("acquire")
    assert at_a_shell.ended() == 1
    assert b"process_lost" in at_a_shell.shown


def test_only_a_terminal_will_do(environment, run, thread):
    done = run("shell")
    assert done.returncode == 2
    assert b"standard input is none" in done.stderr
    assert b"exec" in done.stderr


def test_only_a_process_with_a_terminal_is_attached_to(sit_down, run):
    run("exec", "--background", "--request-id", "pipe", "--", "sleep 600")
    person = sit_down("--attach", "pipe")
    person.read_until(rb"no terminal")
    assert person.ended() == 1
    person = sit_down("--attach", "unknown")
    person.read_until(rb"process_not_found")
    assert person.ended() == 1


@pytest.mark.parametrize(
    ("program", "keys", "pattern", "leave"),
    [
        (["python3", "-q"], b"6 * 7\r", rb"42\r\n", b"exit()\r"),
        (["vim", "-u", "NONE", "file"], b"ihello\x1b:w\r", rb"file.*written", b":q\r"),
        (["less", "/etc/passwd"], b"", rb"root:", b"q"),
    ],
    ids=["python", "vim", "less"],
)
def test_programs_that_want_a_terminal_have_one(
    environment, thread, run, program, keys, pattern, leave
):
    if shutil.which(program[0]) is None:
        pytest.skip(f"no {program[0]} on this machine")
    person = Person(environment | {"TERM": "xterm-256color"}, "--thread", thread, "--", *program)
    try:
        person.read_until(rb">>> " if program[0] == "python3" else rb"\x1b\[")
        person.type(keys)
        person.read_until(pattern)
        person.type(leave)
        assert person.ended() == 0
    finally:
        person.leave()
