"""The command line, as a person types it, against a live server."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

KEY = "key-of-the-command-line"


class Shell:
    """Runs `oneseek-sandbox` with the server and the key in the environment."""

    def __init__(self, server, folder):
        self.server = server
        self.folder = folder
        self.environment = os.environ | {
            "ONESEEK_SANDBOX_URL": server.url,
            "ONESEEK_SANDBOX_KEY": server.key,
            "COLUMNS": "80",
        }

    def __call__(self, *arguments, stdin=b"", **environment):
        return subprocess.run(
            [sys.executable, "-m", "oneseek_sandbox.cli", *map(str, arguments)],
            input=stdin,
            env=self.environment | environment,
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )

    def start(self, *arguments):
        return subprocess.Popen(
            [sys.executable, "-m", "oneseek_sandbox.cli", *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            # A shell's background job, as a test run may be, ignores it, and so would its children.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )


@pytest.fixture(scope="session")
def server(new_server):
    return new_server(key=KEY, settings={"PROVISIONER_MAX_OUTPUT_BYTES": "100000"})


@pytest.fixture
def shell(server, tmp_path):
    return Shell(server, tmp_path)


@pytest.mark.finding(13)
def test_all_processes_are_ended_and_the_files_stay(shell, thread):
    shell("exec", "-t", thread, "--", "touch kept; sleep 100 >/dev/null 2>&1 &")
    ended = shell("end-all", "-t", thread)
    assert (ended.stdout, ended.returncode) == (b"ended\n", 0)
    assert shell("end-all", "-t", thread).stdout == b"nothing was running\n"
    assert shell("exec", "-t", thread, "--", "ls").stdout == b"kept\n"


@pytest.fixture
def thread(shell, request):
    """A thread of the test's own, with a sandbox; released at the end."""
    name = request.node.name
    assert shell("acquire", "--thread", name).returncode == 0
    yield name
    shell("release", "--thread", name)


def until(condition, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


def test_acquire_prints_the_sandbox_id_alone_on_stdout(shell, thread):
    first = shell("acquire", "--thread", thread)
    answer = json.loads(shell("acquire", "--thread", thread, "--json").stdout)
    assert first.stdout.decode().strip() == answer["sandbox_id"]
    assert answer["reused"] is True
    assert b"the same as before" in first.stderr


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


@pytest.mark.parametrize("size", [0, 1, 3_000_001, 40_000_000])
def test_files_of_any_size_go_in_and_come_out_the_same(shell, thread, tmp_path, size):
    data = hashlib.shake_256(b"data").digest(min(size, 1_000_003)) * (size // 1_000_003 + 1)
    source = tmp_path / "source"
    source.write_bytes(data[:size])
    assert shell("put", "-t", thread, source, "/workspace/new/dir/").returncode == 0
    got = shell("get", "-t", thread, "/workspace/new/dir/source", "copy")
    assert got.returncode == 0, got.stderr
    assert (tmp_path / "copy").read_bytes() == data[:size]
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_put_keeps_the_mode(shell, thread, tmp_path):
    script = tmp_path / "tool"
    script.write_text("#!/bin/sh\necho runs\n")
    script.chmod(0o755)
    shell("put", "-t", thread, script, "/workspace/tool")
    assert shell("exec", "-t", thread, "./tool").stdout == b"runs\n"


@pytest.mark.finding(5)
@pytest.mark.parametrize("local", ["source", "-"])
def test_put_waits_for_the_disk_if_told_to(shell, thread, tmp_path, local):
    """A directory that cannot be read cannot be synced either: it tells whether that was asked."""
    (tmp_path / "source").write_bytes(b"kept")
    shell("exec", "-t", thread, "mkdir -p closed open; chmod 300 closed")
    for folder, options, status in (
        ("closed", [], 0),
        ("closed", ["--sync"], 1),
        ("open", ["--sync"], 0),
    ):
        path = f"/workspace/{folder}/synced"
        ran = shell("put", *options, "-t", thread, local, path, stdin=b"kept")
        assert ran.returncode == status, ran.stderr
    assert shell("cat", "-t", thread, "/workspace/open/synced").stdout == b"kept"


def test_put_and_cat_work_in_pipes(shell, thread):
    data = bytes(range(256)) * 100
    assert shell("put", "-t", thread, "-", "/workspace/bytes", stdin=data).returncode == 0
    assert shell("cat", "-t", thread, "/workspace/bytes").stdout == data
    assert shell("get", "-t", thread, "/workspace/bytes", "-").stdout == data


def test_a_failed_get_leaves_the_local_file_alone(shell, thread, tmp_path):
    kept = tmp_path / "kept"
    kept.write_text("mine")
    ran = shell("get", "-t", thread, "/workspace/absent", kept)
    assert ran.returncode == 1
    assert b"file_not_found" in ran.stderr
    assert kept.read_text() == "mine"
    assert list(tmp_path.iterdir()) == [kept]


def test_put_of_a_file_that_is_not_there_says_so(shell, thread):
    ran = shell("put", "-t", thread, "absent", "/workspace/x")
    assert (ran.returncode, ran.stderr.count(b"\n")) == (1, 1)
    assert b"cannot read absent" in ran.stderr


def test_ls_shows_one_name_a_line_however_odd(shell, thread):
    shell("exec", "-t", thread, "mkdir d; touch 'a b' \"$(printf 'n\\nl')\"; ln -s d link")
    lines = shell("ls", "-t", thread).stdout.decode().splitlines()
    names = [line.split(maxsplit=5)[-1] for line in lines]
    assert names == [
        "/workspace/a b",
        "/workspace/d/",
        "/workspace/link@",
        "/workspace/n\\nl",
    ]


def test_ls_follows_the_cursor_to_the_end(shell, thread):
    shell("exec", "-t", thread, "mkdir many; cd many; seq 2500 | xargs touch")
    answer = json.loads(shell("ls", "-t", thread, "/workspace/many", "--json").stdout)
    assert len({entry["path"] for entry in answer["entries"]}) == 2500


def test_replace_edits_and_refuses(shell, thread):
    shell("put", "-t", thread, "-", "/workspace/f", stdin=b"one two one\n")
    refused = shell("replace", "-t", thread, "/workspace/f", "one", "1")
    assert refused.returncode == 1
    assert b"text_not_unique" in refused.stderr
    ran = shell("replace", "-t", thread, "/workspace/f", "one", "1", "--all")
    assert ran.stdout == b"2 replacements in /workspace/f\n"
    assert shell("cat", "-t", thread, "/workspace/f").stdout == b"1 two 1\n"


def test_status_lists_the_sandbox_uncut(shell, thread):
    sandbox_id = shell("acquire", "-t", thread).stdout.strip()
    rows = [row for row in shell("status").stdout.splitlines() if thread.encode() in row]
    assert len(rows) == 1
    assert sandbox_id in rows[0]


def test_cleanup_counts(shell):
    assert b"0 expired" in shell("cleanup").stdout


def test_scopes_are_apart(shell):
    ids = {shell("acquire", "-t", "same", "--scope", scope).stdout for scope in ("one", "two")}
    assert len(ids) == 2
    for scope in ("one", "two"):
        assert shell("release", "-t", "same", "--scope", scope).returncode == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["exec", "--", "true"],
        ["ls"],
        ["ls", "-t", "t", "-s", "0" * 32],
        ["ls", "-s", "0" * 32, "--scope", "x"],
        ["exec", "-t", "t"],
        ["exec", "-t", "t", "-e", "novalue", "true"],
        ["status", "--server", "nonsense"],
        ["unknown"],
    ],
)
def test_wrong_usage_is_2(shell, arguments):
    ran = shell(*arguments)
    assert ran.returncode == 2
    assert ran.stdout == b""
    assert ran.stderr


def test_a_thread_without_sandbox_says_what_to_do(shell):
    ran = shell("ls", "-t", "nobody")
    assert (ran.returncode, ran.stdout, ran.stderr.count(b"\n")) == (1, b"", 1)
    assert b"lease_not_found" in ran.stderr
    assert b"acquire" in ran.stderr


def test_a_wrong_key_is_told_and_not_shown(shell):
    ran = shell("status", ONESEEK_SANDBOX_KEY="wrong-key-wrong-key")
    assert ran.returncode == 1
    assert b"unauthenticated" in ran.stderr
    assert b"wrong-key" not in ran.stderr


def test_no_server_is_69(shell):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    ran = shell("status", ONESEEK_SANDBOX_URL=f"http://127.0.0.1:{port}")
    assert (ran.returncode, ran.stderr.count(b"\n")) == (69, 1)
    assert b"oneseek-sandbox serve" in ran.stderr


def test_without_a_url_the_server_is_the_one_on_port(shell):
    ran = shell("status", ONESEEK_SANDBOX_URL="", PORT=str(shell.server.port))
    assert ran.returncode == 0
    assert f"live at {shell.server.url}".encode() in ran.stderr


def test_a_url_overrides_port(shell):
    assert shell("status", PORT="1").returncode == 0
    elsewhere = ["--server", shell.server.url]
    assert shell("status", *elsewhere, ONESEEK_SANDBOX_URL="", PORT="1").returncode == 0


@pytest.mark.parametrize("port", ["0", "65536", "tcp://10.0.0.1:80", "\u0663"])
def test_a_port_that_is_none_is_named(shell, port):
    ran = shell("status", ONESEEK_SANDBOX_URL="", PORT=port)
    assert (ran.returncode, ran.stderr.count(b"\n")) == (2, 1)
    assert b"PORT is" in ran.stderr
    assert b"ONESEEK_SANDBOX_URL" in ran.stderr


def test_help_tells_how_a_server_and_its_key_are_named(shell):
    for command in ("status", "exec"):
        told = shell(command, "--help").stdout
        for name in (b"ONESEEK_SANDBOX_URL", b"ONESEEK_SANDBOX_KEY", b"PORT"):
            assert name in told, command
    overview = shell("--help").stdout
    assert b"ONESEEK_SANDBOX_URL" in overview
    assert b"ONESEEK_SANDBOX_KEY" in overview


def test_a_proxy_in_the_environment_is_not_asked_about_loopback(shell):
    assert shell("status", HTTP_PROXY="http://127.0.0.1:9", NO_PROXY="").returncode == 0


def test_help_needs_no_server_and_is_quick(shell):
    started = time.monotonic()
    ran = shell("--help")
    assert ran.returncode == 0
    assert b"exec" in ran.stdout
    assert time.monotonic() - started < 20


def test_completion_knows_the_commands(shell):
    ran = shell(
        _ONESEEK_SANDBOX_COMPLETE="complete_bash", COMP_WORDS="oneseek-sandbox re", COMP_CWORD="1"
    )
    assert ran.stdout.split() == [b"replace", b"release"]
