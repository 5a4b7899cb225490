"""Commands by `exec`: what goes in, what comes out, and what ends them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.finding(13)
def test_all_processes_are_ended_and_the_files_stay(shell, thread):
    shell("exec", "-t", thread, "--", "touch kept; sleep 100 >/dev/null 2>&1 &")
    ended = shell("end-all", "-t", thread)
    assert (ended.stdout, ended.returncode) == (b"ended\n", 0)
    assert shell("end-all", "-t", thread).stdout == b"nothing was running\n"
    assert shell("exec", "-t", thread, "--", "ls").stdout == b"kept\n"


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_exec_acquires_by_itself_and_passes_everything_through(shell):
    ran = shell("exec", "--thread", "fresh", "--", "echo out; echo err >&2; exit 7")
    assert (ran.returncode, ran.stdout, ran.stderr) == (7, b"out\n", b"err\n")
    assert shell("release", "--thread", "fresh").stdout == b"released\n"
    assert shell("release", "--thread", "fresh").stdout == b"already released\n"


def test_exec_sends_several_words_without_a_shell(shell, thread):
    ran = shell("exec", "-t", thread, "--", "printf", "%s|", "a b", "$HOME", "*", "--json", "")
    assert ran.stdout == b"a b|$HOME|*|--json||"


def test_exec_knows_its_own_options_from_those_of_the_command(shell, thread):
    ran = shell("exec", "-t", thread, "sh", "-c", "echo $0 $1", "--timeout", "--cwd")
    assert ran.stdout == b"--timeout --cwd\n"


def test_exec_takes_directory_environment_and_standard_input(shell, thread):
    shell("exec", "-t", thread, "mkdir -p /workspace/deep")
    options = ["--cwd", "/workspace/deep", "-e", "A=1=2", "-e", "B=ü", "--stdin", "-"]
    ran = shell("exec", "-t", thread, *options, "pwd; echo $A $B; cat", stdin="grüße\n".encode())
    assert ran.stdout.decode() == "/workspace/deep\n1=2 ü\ngrüße\n"


@pytest.mark.finding(9)
def test_exec_gives_the_command_what_is_piped_in_and_its_output_back_byte_for_byte(shell, thread):
    data = bytes(range(256)) * 400
    ran = shell("exec", "-t", thread, "cat; cat /dev/null; printf '\\377' >&2", stdin=data)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, data, b"\xff")


@pytest.mark.finding(9)
def test_exec_leaves_standard_input_alone_when_told_to(shell, thread):
    ran = shell("exec", "-t", thread, "-n", "cat; echo done", stdin=b"not for the command")
    assert ran.stdout == b"done\n"


@pytest.mark.finding(9)
def test_exec_waits_for_no_terminal_and_no_device(shell, thread):
    process = shell.start("exec", "-t", thread, "cat; echo done")
    assert process.communicate(timeout=60) == (b"done\n", b"")


def test_exec_says_that_time_ran_out(shell, thread):
    ran = shell("exec", "-t", thread, "--timeout", "0.5", "echo begun; sleep 30")
    assert ran.returncode == 124
    assert ran.stdout == b"begun\n"
    assert b"--timeout" in ran.stderr


def test_exec_says_when_output_was_left_out(shell, thread):
    ran = shell("exec", "-t", thread, "--max-output-bytes", "1000", "seq 100000")
    assert ran.returncode == 74
    assert ran.stdout.startswith(b"1\n2\n")
    assert len(ran.stdout) == 1000 + 64 * 1024
    assert ran.stdout.endswith(b"99999\n100000\n")
    assert b"stdout: 522359 bytes are missing here" in ran.stderr


def test_exec_shows_output_while_the_command_runs(shell, thread):
    process = shell.start("exec", "-t", thread, "--timeout", "60", "echo first; sleep 50")
    with process:
        assert process.stdout.readline() == b"first\n"
        assert process.poll() is None
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_command_ends_with_the_terminal_that_started_it(shell, thread, ending):
    process = shell.start("exec", "-t", thread, "--timeout", "60", "echo up; exec sleep 54.321")
    with process:
        assert process.stdout.readline() == b"up\n"
        process.send_signal(ending)
        process.wait(10)
        assert process.returncode == (130 if ending == signal.SIGINT else -ending)
    until(lambda: shell("exec", "-t", thread, "--", "pgrep", "-f", "54.32[1]").returncode == 1)


def test_exec_as_json_gives_the_whole_answer(shell, thread):
    ran = shell("exec", "-t", thread, "--json", "echo hi; exit 3")
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["stdout"] == "hi\n"


def test_exec_into_a_closed_pipe_ends_quietly(shell, thread):
    line = f"'{sys.executable}' -m oneseek_sandbox.cli exec -t '{thread}' 'echo 1; sleep 1; echo 2; sleep 1; echo 3' | head -1"
    ran = subprocess.run(
        ["sh", "-c", line], env=shell.environment, capture_output=True, timeout=60, check=False
    )
    assert (ran.stdout, ran.stderr) == (b"1\n", b"")
