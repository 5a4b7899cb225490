"""Running commands: output, exit codes, input, environment."""

from __future__ import annotations

import json
import shutil
import socket
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import (
    Client,
    Refused,
    WorkerProcess,
    parse_exit,
    read_response,
    wait_until,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_answer_has_exit_code_and_both_streams(client: Client) -> None:
    answer = client.execute("echo out; echo err >&2; exit 3")
    assert answer["exit_code"] == 3
    assert (answer["stdout"], answer["stderr"]) == (b"out\n", b"err\n")
    assert (answer["timed_out"], answer["killed_by"], answer["background"]) == (False, None, False)


def test_a_signal_gives_128_and_its_number(client: Client) -> None:
    assert client.execute("kill -SEGV $$")["exit_code"] == 128 + 11


def test_list_command_sees_no_shell(client: Client) -> None:
    assert client.execute(["printf", "%s", "$HOME;*"])["stdout"] == b"$HOME;*"


def test_list_command_that_is_missing_gives_127_and_says_so(client: Client) -> None:
    answer = client.execute(["no-such-program"])
    assert answer["exit_code"] == 127
    assert b"no-such-program" in answer["stderr"]


def test_list_command_that_is_not_executable_gives_126(client: Client, home: Path) -> None:
    (home / "plain").write_text("text")
    answer = client.execute(["./plain"])
    assert answer["exit_code"] == 126
    assert b"Permission denied" in answer["stderr"]


def test_string_runs_under_bash(client: Client) -> None:
    assert client.execute("[[ a == a ]] && echo $BASH_VERSION")["stdout"] != b"\n"


def test_string_that_begins_with_a_dash_is_no_option(client: Client) -> None:
    assert client.execute("-x")["exit_code"] == 127


def test_command_longer_than_linux_allows_in_one_argument_runs(client: Client) -> None:
    text = "x" * 300_000
    answer = client.execute(f"cat; echo {text}; exit 5", stdin="input")
    assert answer["stdout"] == b"input" + text.encode() + b"\n"
    assert answer["exit_code"] == 5


def test_stdin_is_empty_when_not_given(client: Client) -> None:
    answer = client.execute("cat; read line; echo $?", timeout_ms=30_000)
    assert (answer["stdout"], answer["timed_out"]) == (b"1\n", False)


def test_stdin_arrives_whole(client: Client) -> None:
    text = "ä\r\n\0" * 100_000
    assert client.execute("cat", stdin=text)["stdout_bytes"] == len(text.encode())
    assert client.execute("wc -c", stdin=text)["stdout"].strip() == b"500000"


def test_bytes_of_output_are_not_touched(client: Client) -> None:
    answer = client.execute(r"printf 'a\r\n\xff\xc3\xa4\0z'")
    assert answer["stdout"] == b"a\r\n\xff\xc3\xa4\0z"


def test_environment_is_the_documented_one(client: Client, home: Path) -> None:
    answer = client.execute("echo $HOME $LANG $TMPDIR $A; pwd", env={"A": "ä b"})
    words = answer["stdout"].decode().split("\n")
    assert words[0].split(" ")[0] == str(home)
    assert words[0].endswith("ä b")
    assert words[1] == str(home)


def test_environment_of_one_command_does_not_reach_the_next(client: Client) -> None:
    client.execute("export LEFT=1", env={"GIVEN": "1"})
    assert client.execute("echo -$LEFT-$GIVEN-")["stdout"] == b"---\n"


def test_cwd_is_in_the_workspace(client: Client, home: Path) -> None:
    (home / "sub dir").mkdir()
    assert client.execute("pwd", cwd=f"{home}/sub dir")["stdout"].decode() == f"{home}/sub dir\n"
    for cwd, code in (("/tmp", "path_outside_workspace"), (f"{home}/none", "file_not_found")):
        with pytest.raises(Refused) as refused:
            client.execute("pwd", cwd=cwd)
        assert refused.value.code == code


def test_signals_are_at_their_defaults(client: Client) -> None:
    answer = client.execute("grep -E 'Sig(Blk|Ign)|Shd' /proc/self/status")
    lines = dict(line.split(":\t") for line in answer["stdout"].decode().splitlines())
    internal = 3 << 31  # posix_spawn of the GNU C library leaves its two own signals ignored
    assert {int(value, 16) & ~internal for value in lines.values()} == {0}
    assert client.execute("yes | head -1; echo ${PIPESTATUS[0]}")["stdout"] == b"y\n141\n"


def test_commands_get_no_descriptor_but_the_three(client: Client) -> None:
    expected = [b"0", b"1", b"2", b"3"]  # the fourth is the directory that ls reads
    for _ in range(3):
        assert client.execute("ls /proc/self/fd")["stdout"].split() == expected
    running = client.start("sleep 1000")
    wait_until(lambda: client.call("/health", "GET")["commands"] == 1)
    assert client.execute("ls /proc/self/fd")["stdout"].split() == expected
    running.close()


def test_head_and_tail_are_kept_within_the_limit(client: Client) -> None:
    answer = client.execute("echo begin; seq 100000; echo end", max_output_bytes=1001)
    assert answer["stdout_bytes"] > 500_000
    assert len(answer["stdout"]) == 1001
    assert answer["stdout"].startswith(b"begin\n1\n")
    assert answer["stdout"].endswith(b"100000\nend\n")


def test_output_at_the_limit_is_whole(client: Client) -> None:
    answer = client.execute("printf 1234567890", max_output_bytes=10)
    assert (answer["stdout"], answer["stdout_bytes"]) == (b"1234567890", 10)


@pytest.mark.parametrize("mode", ["first"])
def test_memory_stays_bounded_whatever_is_printed(client: Client, worker: WorkerProcess) -> None:
    answer = client.execute("yes | head -c 300000000", max_output_bytes=100_000)
    assert answer["stdout_bytes"] == 300_000_000
    assert peak_memory_kib(worker) < 40_000


def peak_memory_kib(worker: WorkerProcess) -> int:
    with open(f"/proc/{worker.worker_pid}/status", "rb") as status:
        line = next(line for line in status if line.startswith(b"VmHWM"))
    return int(line.split()[1])


def test_stream_shows_output_while_it_is_printed(client: Client) -> None:
    sock = client.start("echo first; read -t 20 < <(sleep 20); echo last", stream=True)
    file = sock.makefile("rb")
    seen = b""
    while b"Zmlyc3QK" not in seen:
        seen += file.readline()
    sock.close()


def test_stream_ends_with_the_whole_answer(client: Client) -> None:
    sock = client.start("echo a; echo b >&2; exit 4", stream=True)
    lines = [json.loads(line) for line in read_response(sock).splitlines()]
    assert {"stdout": "YQo="} in lines
    assert {"stderr": "Ygo="} in lines
    assert parse_exit(json.dumps(lines[-1]).encode())["exit_code"] == 4


def test_stream_shows_only_the_first_bytes(client: Client) -> None:
    sock = client.start("seq 100000", stream=True, max_output_bytes=1000)
    lines = [json.loads(line) for line in read_response(sock).splitlines()]
    assert sum(len(line["stdout"]) * 3 // 4 for line in lines[:-1]) <= 1002


@pytest.mark.finding(8)
def test_a_caller_that_does_not_read_costs_little_memory(
    client: Client, worker: WorkerProcess
) -> None:
    sock = client.start("yes", stream=True, max_output_bytes=40_000_000, timeout_ms=2000)
    wait_until(lambda: client.call("/health", "GET")["commands"] == 1)
    wait_until(lambda: client.call("/health", "GET")["commands"] == 0)
    assert parse_exit(read_response(sock))["timed_out"] is True
    assert peak_memory_kib(worker) < 60_000


def test_requests_on_one_connection_follow_each_other_even_when_sent_early(client: Client) -> None:
    sock = client.start("sleep 0.1; echo one")
    body = b'{"command":"echo two","timeout_ms":9000,"max_output_bytes":99}'
    sock.sendall(client.raw_head("/execute", {"content-length": str(len(body))}) + body)
    assert b"b25lCg==" in read_chunked(sock)
    assert b"dHdvCg==" in read_chunked(sock)


def read_chunked(sock: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"0\r\n\r\n"):
        data += sock.recv(1)
    return data


def test_commands_run_beside_each_other(client: Client) -> None:
    # None ends before all have begun.
    meet = "touch {}; while [ $(ls | wc -l) -lt 10 ]; do sleep 0.05; done; echo done"
    socks = [client.start(meet.format(number), timeout_ms=50_000) for number in range(10)]
    assert all(parse_exit(read_response(sock))["stdout"] == b"done\n" for sock in socks)


def test_too_many_commands_are_refused_and_the_next_is_taken(start) -> None:
    client = start("--max-commands", "2").client()
    client.claim()
    socks = [client.start("sleep 100") for _ in range(2)]
    wait_until(lambda: client.call("/health", "GET")["commands"] == 2)
    with pytest.raises(Refused) as refused:
        client.execute("true")
    assert (refused.value.status, refused.value.code) == (429, "too_many_commands")
    for sock in socks:
        sock.close()
    wait_until(lambda: client.call("/health", "GET")["commands"] == 0)
    assert client.execute("true")["exit_code"] == 0


@pytest.mark.parametrize(
    "fields",
    [
        {"command": ""},
        {"command": []},
        {"command": [1]},
        {"command": "a\0b"},
        {"command": "\ud800"},
        {"timeout_ms": 0},
        {"timeout_ms": True},
        {"timeout_ms": "5"},
        {"max_output_bytes": -1},
        {"max_output_bytes": 1 << 40},
        {"env": {"A=B": "c"}},
        {"env": {"": "c"}},
        {"env": {"A": 1}},
        {"env": []},
        {"stdin": 5},
        {"cwd": "relative"},
        {"unknown": 1},
        {"stream": "yes"},
    ],
    ids=str,
)
def test_a_wrong_field_is_refused_by_name(steady: Client, fields: dict[str, object]) -> None:
    with pytest.raises(Refused) as refused:
        steady.execute(**{"command": "true", **fields})
    assert refused.value.status == 400
    if "cwd" not in fields:
        assert next(iter(fields)) in refused.value.message


@pytest.mark.finding(19)
def test_a_search_by_command_line_does_not_find_the_shell_that_searches(client: Client) -> None:
    # A sleep is found once it has become one: until then it is a copy of its shell.
    answer = client.execute(
        "exec 2>&1; sleep 987 & pkill -f 'sleep 987'; sleep 988 & echo on;"
        " until grep -q ^sleep /proc/$!/cmdline; do :; done; pgrep -fc 'sleep 988';"
        " pkill -f 'sleep 98[78]'; exit 5"
    )
    assert (answer["stdout"], answer["exit_code"]) == (b"on\n1\n", 5)
    assert client.execute("sleep 986 & time pkill -f 'sleep 986'; echo on")["stdout"] == b"on\n"


@pytest.mark.finding(19)
@pytest.mark.parametrize("shell", ["bash", "dash", "busybox"])
def test_a_script_that_is_no_argument_runs_like_one(client: Client, home: Path, shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"there is no {shell} here")
    folder = home / "shells"
    folder.mkdir()
    (folder / ("bash" if shell == "bash" else "sh")).symlink_to(program)
    for name in ("env", "sleep", "cat", "grep"):
        (folder / name).symlink_to(shutil.which(name) or "")
    path = {"PATH": str(folder)}
    script = (
        "# the first line\necho $# ${0##*/}; read line; echo [$line]\n"
        "env | grep -c _sandbox_script\ncat <<END\nhere\nEND\nset -e\nnonesuch || true\n"
        "trap 'echo bye' EXIT; false; echo never"
    )
    answer = client.execute(script, env=path, stdin="input\n")
    name = "bash" if shell == "bash" else "sh"
    expected = f"0 {name}\n[input]\n0\nhere\nbye\n"
    assert (answer["stdout"].decode(), answer["exit_code"]) == (expected, 1)
    assert (b"8: " in answer["stderr"], b"nonesuch: " in answer["stderr"]) == (True, True)
    assert client.execute("echo one; fi", env=path)["exit_code"] == 2
    assert client.execute("kill -9 $$; true", env=path)["exit_code"] == 137
