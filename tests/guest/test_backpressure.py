"""The caller that started a command slows it, as a pipe would, and loses nothing."""

from __future__ import annotations

import base64
import json
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.guest.client import (
    Client,
    parse_exit,
    read_response,
    wait_until,
    worker_process,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.finding(8)

PATIENCE = 1.0
EVERYTHING = {"x-live-bytes": str(10**17)}
# A pipe, the queue, and the socket's two buffers; with what their bookkeeping takes.
UNDER_WAY = 2_000_000


@pytest.fixture
def mode() -> str:
    """Only as in a sandbox: whose worker it is changes nothing about what it sends when."""
    return "first"


@pytest.fixture
def impatient() -> Iterator[Client]:
    """A client of a worker that waits a second, not thirty, for a caller that takes nothing."""
    with worker_process(seconds={"PROGRESS_SECONDS": PATIENCE}) as process:
        client = process.client()
        client.claim()
        yield client


def home_of(client: Client) -> Path:
    return Path(client.address).parent / "workspace"


def start(client: Client, command: str, headers: dict[str, str], **fields: Any) -> socket.socket:
    values = {"timeout_ms": 60_000, "grace_ms": 300, "max_output_bytes": 100_000, "stream": True}
    body = json.dumps({"command": command, **values, **fields}).encode()
    sock = client.connect()
    head = client.raw_head("/execute", {"content-length": str(len(body)), **headers})
    sock.sendall(head + body)
    return sock


def printed(data: bytes, name: str = "stdout") -> bytes:
    """Return what came live of one output."""
    lines = (json.loads(line) for line in data.splitlines())
    return b"".join(base64.b64decode(line[name]) for line in lines if name in line)


def commands(client: Client) -> int:
    count: int = client.call("/health", "GET")["commands"]
    return count


def test_a_caller_that_reads_late_gets_every_byte(client: Client, home: Path) -> None:
    sock = start(client, "seq 3000000 | tee copy; echo >&2 end", EVERYTHING)
    wait_until(lambda: (home / "copy").exists() and (home / "copy").stat().st_size > 100_000)
    data = read_response(sock)
    assert printed(data) == (home / "copy").read_bytes()
    assert printed(data, "stderr") == b"end\n"
    answer = parse_exit(data)
    assert (answer["exit_code"], answer["stdout_bytes"]) == (0, len(printed(data)))


def test_a_command_whose_caller_reads_nothing_stands_still(client: Client, home: Path) -> None:
    sock = start(client, "seq 3000000 | tee copy", EVERYTHING)
    copy = home / "copy"
    wait_until(lambda: copy.exists() and copy.stat().st_size > 100_000)
    last = [0, 0.0]

    def stands_still() -> bool:
        size = copy.stat().st_size
        if size != last[0]:
            last[:] = size, time.monotonic()
        return time.monotonic() - last[1] > 1

    wait_until(stands_still, 30)
    assert last[0] < UNDER_WAY
    assert commands(client) == 1
    assert printed(read_response(sock)) == copy.read_bytes()


def test_output_after_a_burst_still_comes_live(client: Client, home: Path) -> None:
    sock = start(
        client,
        "seq 300000; echo small; until [ -e go ]; do sleep 0.01; done; echo late",
        EVERYTHING,
    )
    file = sock.makefile("rb")
    seen = b""
    while not seen.endswith(b"small\n"):
        line = file.readline()
        assert line, "the stream ended before the small line came"
        if line.startswith(b"{"):
            seen += base64.b64decode(json.loads(line).get("stdout", ""))
    (home / "go").touch()
    rest = b""
    while b'"exit"' not in rest:
        rest = file.readline()
        assert rest, "the stream ended without an answer"


def test_its_time_runs_on_while_a_command_waits_for_its_caller(client: Client) -> None:
    sock = start(client, "yes", EVERYTHING, timeout_ms=500)
    wait_until(lambda: commands(client) == 0)
    answer = parse_exit(read_response(sock))
    assert (answer["timed_out"], answer["killed_by"]) == (True, "timeout")


def test_a_plain_answer_never_waits(client: Client) -> None:
    answer = client.execute("head -c 5000000 /dev/zero", max_output_bytes=1000)
    assert (answer["stdout_bytes"], len(answer["stdout"])) == (5_000_000, 1000)


def test_past_its_limit_a_stream_holds_nobody_up(client: Client, home: Path) -> None:
    command = "seq 3000000; touch done"
    sock = start(client, command, {"x-live-bytes": "1000"}, max_output_bytes=1000)
    wait_until((home / "done").exists)
    data = read_response(sock)
    assert len(printed(data)) == 1000
    answer = parse_exit(data)
    # Half the limit of the head, and the last 64 KiB for the stream's end.
    assert len(answer["stdout"]) == 500 + 64 * 1024
    assert answer["stdout"].endswith(b"2999999\n3000000\n")


def test_what_is_printed_after_the_end_holds_nobody_up(client: Client) -> None:
    sock = start(client, "seq 30000; (sleep 0.05; exec yes) & echo $! >pid; exit 3", EVERYTHING)
    wait_until(lambda: commands(client) == 0)
    data = read_response(sock)
    answer = parse_exit(data)
    assert (answer["exit_code"], answer["background"]) == (3, True)
    assert printed(data).startswith(b"1\n2\n3\n")
    assert client.execute("kill $(cat pid)")["exit_code"] == 0


def test_a_caller_that_takes_nothing_has_left(impatient: Client) -> None:
    sock = start(impatient, "yes", EVERYTHING)
    wait_until(lambda: commands(impatient) == 1)
    wait_until(lambda: commands(impatient) == 0)
    assert b'"exit"' not in read_all(sock)


def test_a_caller_that_takes_little_has_not_left(impatient: Client) -> None:
    sock = start(impatient, "head -c 600000 /dev/zero; echo; echo end >&2", EVERYTHING)
    data = b""
    begun = time.monotonic()
    while piece := sock.recv(8192):
        data += piece
        if data.endswith(b"0\r\n\r\n"):
            break
        time.sleep(0.03)
    assert time.monotonic() - begun > 2 * PATIENCE
    assert b'"exit"' in data


def test_a_silent_command_is_not_a_caller_that_has_left(impatient: Client) -> None:
    sock = start(impatient, f"echo one; sleep {2 * PATIENCE}; echo two", EVERYTHING)
    assert printed(read_response(sock)) == b"one\ntwo\n"


def test_with_a_request_id_the_command_goes_on_without_its_caller(impatient: Client) -> None:
    command = "seq 3000000; touch done"
    sock = start(impatient, command, EVERYTHING, request_id="r")
    wait_until((home_of(impatient) / "done").exists)
    wait_until(lambda: commands(impatient) == 0)
    assert b'"exit"' not in read_all(sock)
    again = read_response(start(impatient, command, EVERYTHING, request_id="r"))
    assert len(again.splitlines()) == 1
    answer = parse_exit(again)
    assert answer["exit_code"] == 0
    assert answer["stdout"].endswith(b"2999999\n3000000\n")


def test_a_second_caller_slows_nothing_and_gets_the_answer(client: Client, home: Path) -> None:
    command = "until [ -e go ]; do sleep 0.01; done; seq 1000000"
    first = start(client, command, EVERYTHING, request_id="r")
    wait_until(lambda: commands(client) == 1)
    second = start(client, command, EVERYTHING, request_id="r")
    (home / "go").touch()
    data = read_response(first)
    assert printed(data).endswith(b"999999\n1000000\n")
    again = read_response(second)
    assert printed(again) == b""
    assert parse_exit(again)["stdout_bytes"] == len(printed(data))


@pytest.mark.parametrize("value", ["", "-1", "1.5", "many", "9" * 19])
def test_a_limit_that_is_no_number_is_refused(client: Client, value: str) -> None:
    with pytest.raises(Exception, match="x-live-bytes"):
        read_response(start(client, "true", {"x-live-bytes": value}))


def read_all(sock: socket.socket) -> bytes:
    data = b""
    while piece := sock.recv(1 << 20):
        data += piece
    return data
