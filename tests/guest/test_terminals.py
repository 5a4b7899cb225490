"""Terminals of processes: typed into, resized, interrupted, hung up."""

from __future__ import annotations

import contextlib
import hashlib
from pathlib import Path

import pytest
from tests.guest.calls import refusal
from tests.guest.client import Client, Refused, WorkerProcess, below, wait_until
from tests.guest.managed import describe, give, read_to_end, text
from tests.guest.typist import SIZE, Typist, open_terminal


@pytest.fixture
def bash(client: Client) -> Typist:
    """An interactive shell at its prompt."""
    env = {"PS1": "$ ", "HISTFILE": ""}
    terminal = {**SIZE, "term": "dumb"}  # for which it prints text alone
    open_terminal(client, ["bash", "--norc", "--noprofile"], "shell", env=env, terminal=terminal)
    typist = Typist(client, "shell")
    typist.read_until(rb"\$ $")
    return typist


def test_a_program_finds_a_terminal_of_its_own(client: Client) -> None:
    command = (
        "tty; stty size; echo $TERM; ps -o sid=,tpgid=,pid= -p $$; echo err >&2; echo > /dev/tty"
    )
    open_terminal(client, command, "a")
    events, process = read_to_end(client, "a")
    tty, size, term, numbers, err, *_ = text(events, "stdout").decode().split("\r\n")
    assert tty.startswith("/dev/pts/")
    assert (size, term, err) == ("20 90", "xterm-256color", "err"), "all of it in one stream"
    assert set(map(int, numbers.split())) == {process["pid"]}, "it leads session and foreground"
    assert (process["exit_code"], process["terminal"], process["leftover"]) == (0, SIZE, False)
    assert process["stdin_open"] is False


def test_the_size_is_there_before_the_program_and_changes_tell_it(client: Client) -> None:
    command = "trap 'stty size; exit 7' WINCH; echo ready; while :; do sleep 0.02; done"
    open_terminal(client, command, "a")
    typist = Typist(client, "a")
    typist.read_until(b"ready")
    sized = {"resize": {"columns": 1000, "rows": 1}}
    taken = give(client, "a", b"", 0, **sized)
    assert taken == {"stdin_offset": 0, "pending": 0}
    typist.read_until(rb"1 1000\r\n")
    process = read_to_end(client, "a")[1]
    assert (process["exit_code"], process["terminal"]) == (7, {"columns": 1000, "rows": 1})


def test_keys_go_through_the_line_discipline(bash: Typist) -> None:
    bash.type(b"echo a$((1+1))b\r")
    bash.read_until(rb"a2b\r\n\$ ")
    bash.type(b"cat\r")
    bash.read_until(rb"cat\r\n")
    wait_until(lambda: foreground_of(bash) == "cat")
    bash.type(b"echoed\r")
    bash.read_until(rb"echoed\r\nechoed\r\n")
    bash.type(b"\x04")
    bash.read_until(rb"\$ ")
    bash.type(b"sleep 600\r")
    wait_until(lambda: foreground_of(bash) == "sleep")
    bash.type(b"\x03")
    bash.read_until(rb"\^C\r\n\$ ")
    bash.type(b"echo $?\r")
    bash.read_until(rb"130\r\n\$ ")


def foreground_of(bash: Typist) -> str:
    """Return the name of the program that has the terminal."""
    pid = describe(bash.client, "shell")["pid"]
    line = f"ps -o comm= -p $(ps -o tpgid= -p {pid})"
    return bash.client.execute(line)["stdout"].decode().strip()


def test_jobs_are_stopped_and_taken_up_again(bash: Typist) -> None:
    bash.type(b"sleep 600\r")
    wait_until(lambda: foreground_of(bash) == "sleep")
    bash.type(b"\x1a")
    bash.read_until(rb"Stopped.*\r\n\$ ")
    bash.type(b"kill %1; fg\r")
    bash.read_until(rb"Terminated.*\r\n\$ ")
    bash.type(b"exit 5\r")
    assert read_to_end(bash.client, "shell")[1]["exit_code"] == 5


def sleeping(worker: WorkerProcess) -> int:
    """Return how many of its processes are a `sleep`."""
    found = 0
    for pid in below(worker.worker_pid):
        with contextlib.suppress(OSError):
            found += Path(f"/proc/{pid}/comm").read_text() == "sleep\n"
    return found


def test_a_signal_to_the_foreground_leaves_the_shell_alone(
    bash: Typist, worker: WorkerProcess
) -> None:
    bash.type(b"sh -c 'sleep 600 & sleep 600; true'\r")
    wait_until(lambda: foreground_of(bash) == "sh")
    # The shell in the foreground and both that it started.
    wanted = {"request_id": "shell", "signal": "KILL", "to": "foreground"}
    wait_until(lambda: sleeping(worker) == 2)
    sent = bash.client.call("/signal", **wanted)
    assert sent == {"delivered": 3, "state": "running"}
    bash.read_until(rb"Killed.*\r\n\$ ")
    bash.type(b"exit\r")
    read_to_end(bash.client, "shell")
    assert refusal(lambda: bash.client.call("/signal", **wanted)) == (409, "process_ended")


def test_input_that_is_sent_twice_is_typed_once(bash: Typist) -> None:
    for _ in range(3):
        assert give(bash.client, "shell", b"echo x\r", 0)["stdin_offset"] == 7
    bash.typed = 7
    bash.type(b"echo end\r")
    assert bash.read_until(rb"\r\nend\r\n").count(b"\r\nx\r\n") == 1
    assert refusal(lambda: give(bash.client, "shell", b"x", 99)) == (409, "input_gap")


def test_what_a_program_does_not_read_is_refused_and_sent_again(client: Client) -> None:
    command = "stty raw -echo; echo ready; read -r go < go; head -c 300000 | sha256sum"
    client.execute("mkfifo go")
    open_terminal(client, command, "a")
    typist = Typist(client, "a")
    typist.read_until(b"ready")
    data = bytes(range(256)) * 1200
    assert refusal(lambda: give(client, "a", data[:300_000], 0)) == (429, "input_full")
    taken = describe(client, "a")["stdin_offset"]
    assert 0 < taken < 100_000
    client.execute("echo > go")

    def give_all() -> bool:
        with contextlib.suppress(Refused):
            return bool(give(client, "a", data[:300_000], 0))
        return False

    wait_until(give_all)
    shown = text(read_to_end(client, "a")[0]).decode()
    assert hashlib.sha256(data[:300_000]).hexdigest() in shown


def test_a_flood_is_kept_as_far_as_any_log_is(client: Client) -> None:
    open_terminal(client, "seq 300000; exit 3", "a")
    events, process = read_to_end(client, "a", max_bytes=262_144)
    assert process["exit_code"] == 3
    shown = text(events)
    assert shown.endswith(b"299999\r\n300000\r\n"), "nothing of the end is lost"
    whole = "".join(f"{n}\r\n" for n in range(1, 300_001))
    assert process["log"]["next_offset"] == len(whole)


def test_the_end_hangs_up_what_lives_on(client: Client) -> None:
    command = "trap '' HUP; (sleep 0.6; echo late; echo $? > wrote; sleep 600) & echo begun"
    open_terminal(client, command, "a")
    events, process = read_to_end(client, "a")
    assert text(events) == b"begun\r\n"
    assert (process["exit_code"], process["leftover"]) == (0, True)
    wait_until(lambda: client.execute("cat wrote")["stdout"] == b"1\n")
    assert describe(client, "a")["log"]["next_offset"] == len(b"begun\r\n")
    assert client.call("/signal", request_id="a", signal="KILL")["delivered"] >= 1


def test_what_is_in_the_foreground_at_the_end_gets_a_hang_up(
    client: Client, worker: WorkerProcess
) -> None:
    open_terminal(client, "sleep 600 & echo begun", "a")
    process = read_to_end(client, "a")[1]
    assert process["exit_code"] == 0
    wait_until(lambda: sleeping(worker) == 0)


def test_a_script_of_any_length_runs_on_a_terminal(client: Client) -> None:
    open_terminal(client, "test -t 0 && echo yes; #" + "x" * 200_000, "a")
    assert text(read_to_end(client, "a")[0]) == b"yes\r\n"


def test_terminals_that_have_ended_leave_no_descriptor(
    client: Client, worker: WorkerProcess
) -> None:
    fds = Path(f"/proc/{worker.worker_pid}/fd")
    client.execute("true")
    wait_until(lambda: client.call("/health", "GET")["commands"] == 0)
    before = len(list(fds.iterdir()))
    for number in range(20):
        open_terminal(client, "trap '' HUP; sleep 600 & echo x", str(number))
        assert read_to_end(client, str(number))[1]["leftover"]
        client.call("/signal", request_id=str(number), signal="KILL")
    wait_until(lambda: len(list(fds.iterdir())) <= before + 2)


def test_input_cannot_be_closed_but_ended_by_a_character(bash: Typist) -> None:
    closing = refusal(lambda: give(bash.client, "shell", b"", 0, close=True))
    assert closing == (400, "invalid_request")
    bash.type(b"\x04")
    assert read_to_end(bash.client, "shell")[1]["exit_code"] == 0
    for fields in ({}, {"resize": SIZE}):
        late = refusal(lambda fields=fields: give(bash.client, "shell", b"x", 1, **fields))
        assert late == (409, "process_ended")


def test_a_cancel_ends_a_shell_that_ignores_terminate(bash: Typist) -> None:
    assert bash.client.call("/cancel", request_id="shell")["cancelled"] is True
    process = read_to_end(bash.client, "shell")[1]
    assert (process["state"], process["killed_by"]) == ("exited", "cancelled")


@pytest.mark.parametrize("limit", [400])
def test_a_time_limit_ends_it(client: Client, limit: int) -> None:
    open_terminal(client, "sleep 600", "a", timeout_ms=limit)
    process = read_to_end(client, "a")[1]
    assert (process["killed_by"], process["exit_code"]) == ("timeout", 124)
