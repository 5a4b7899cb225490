"""Hostile and careless clients: each gets a clear refusal, nobody else notices."""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import TOKEN, Client, Refused, WorkerProcess, read_response, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = f"x-sandbox-token: {TOKEN}\r\nx-sandbox-generation: 1\r\n".encode()


@pytest.fixture
def mode() -> str:
    """Only as in a sandbox: whose worker it is changes nothing about its HTTP."""
    return "first"


def ask(client: Client, data: bytes) -> tuple[int, str] | bytes:
    """Send raw bytes; return the status and code of the refusal, or what came."""
    sock = client.connect()
    with contextlib.suppress(OSError):
        sock.sendall(data)
    try:
        return read_response(sock)
    except Refused as refused:
        return refused.status, refused.code


@pytest.mark.parametrize(
    "head",
    [
        b"nonsense\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET  /health HTTP/1.1\r\n\r\n",
        b"GET /health HTTP/2.0\r\n\r\n",
        b"GET /health HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET /health HTTP/1.1\r\nname : value\r\n\r\n",
        b"GET /health HTTP/1.1\r\n folded: value\r\n\r\n",
        b"GET /health HTTP/1.1\r\n: value\r\n\r\n",
        b"GET /health HTTP/1.1\r\na: b\nc: d\r\n\r\n",
        b"GET /health HTTP/1.1\r\na: b\0\r\n\r\n",
        b"POST /ls HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ntransfer-encoding: gzip, chunked\r\n\r\n",
        b"POST /ls HTTP/1.1\r\ntransfer-encoding: chunked\r\ntransfer-encoding: x\r\n\r\n",
        b"POST /ls HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
        b"POST /ls HTTP/1.1\r\ncontent-length: +2\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ncontent-length: 0x2\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ncontent-length: \xb2\r\n\r\n{}",
        b"POST /ls HTTP/1.1\r\ncontent-length: " + b"9" * 40 + b"\r\n\r\n",
        b"GET /health HTTP/1.1\r\nx-sandbox-token: a\r\nx-sandbox-token: b\r\n\r\n",
        b"GET /health HTTP/1.1\r\n" + b"a: b\r\n" * 100 + b"\r\n",
    ],
    ids=lambda head: repr(head[:60]),
)
def test_a_malformed_head_is_refused_and_the_connection_ended(steady: Client, head: bytes) -> None:
    sock = steady.connect()
    sock.sendall(head)
    with pytest.raises(Refused) as refused:
        read_response(sock)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request")
    assert sock.recv(10) == b""
    assert steady.execute("true")["exit_code"] == 0


def test_a_header_without_end_is_refused(client: Client) -> None:
    answer = ask(client, b"GET /proof HTTP/1.1\r\nx: " + b"a" * 200_000)
    assert answer == (413, "request_too_large")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"null", 400),
        (b"\xff", 400),
        (b"[" * 500_000, 400),
        (b'{"path":' + b"[" * 500_000, 400),
        (b'{"path": ' + b"9" * 1_000_000 + b"}", 400),
        (b'{"path": NaN}', 400),
        (b'{"path": "' + b"x" * 1_000_000 + b'"}', 400),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_a_body_that_is_no_request_is_refused(steady: Client, body: bytes, status: int) -> None:
    with pytest.raises(Refused) as refused:
        read_response_of(steady, "/ls", body)
    assert (refused.value.status, refused.value.code) == (status, "invalid_request")
    assert steady.execute("true")["exit_code"] == 0


def read_response_of(client: Client, path: str, body: bytes) -> bytes:
    sock = client.connect()
    sock.sendall(client.raw_head(path, {"content-length": str(len(body))}) + body)
    return read_response(sock)


def test_json_above_the_limit_is_refused(client: Client) -> None:
    head = client.raw_head("/execute", {"content-length": str(21 * 1024 * 1024)})
    assert ask(client, head) == (413, "request_too_large")
    head = client.raw_head("/execute", {"transfer-encoding": "chunked"})
    chunk = b"100000\r\n" + b" " * 0x100000 + b"\r\n"
    assert ask(client, head + chunk * 22) == (413, "request_too_large")
    assert ask(client, b"POST /claim HTTP/1.1\r\ncontent-length: 9000000\r\n\r\n")[1] == (
        "request_too_large"
    )


@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\n\r\n",
        b"-1\r\n\r\n",
        b"\r\n",
        b"1" * 300,
        b"1\r\nab\r\n0\r\n\r\n",
        b"1" * 16 + b"\r\n",
        b"2\r\n{}\r\n0\r\n" + b"a: b\r\n" * 100,
    ],
    ids=repr,
)
def test_malformed_chunks_are_refused(steady: Client, body: bytes) -> None:
    head = steady.raw_head("/ls", {"transfer-encoding": "chunked"})
    answer = ask(steady, head + body)
    assert answer[0] in (400, 413)
    assert steady.execute("true")["exit_code"] == 0


def test_chunked_json_with_trailers_is_read(client: Client, home: Path) -> None:
    body = json.dumps({"path": str(home)}).encode()
    head = client.raw_head("/ls", {"transfer-encoding": "chunked"})
    chunks = b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in body)
    answer = ask(client, head + chunks + b"0\r\nx-trailer: 1\r\n\r\n")
    assert json.loads(answer)["entries"] == []


def test_unknown_paths_and_methods_are_told_apart(client: Client) -> None:
    for method, path, expected in (
        ("GET", "/nothing", (404, "unknown_verb")),
        ("GET", "/execute", (405, "method_not_allowed")),
        ("POST", "/proof", (405, "method_not_allowed")),
        ("DELETE", "/health", (405, "method_not_allowed")),
    ):
        with pytest.raises(Refused) as refused:
            client.call(path, method)
        assert (refused.value.status, refused.value.code) == expected


def test_a_refused_upload_still_gets_its_answer(client: Client, home: Path) -> None:
    for size in (100, 5_000_000):
        with pytest.raises(Refused) as refused:
            client.write("/etc/x", b"x" * size)
        assert refused.value.code == "path_outside_workspace"
        assert client.execute("true")["exit_code"] == 0


def test_a_slow_header_is_given_up(start: Callable[..., WorkerProcess]) -> None:
    client = start(seconds={"HEADER_SECONDS": 2}).client()
    sock = client.connect()
    started = time.monotonic()
    sock.sendall(b"GET /proof HTTP/1.1\r\n")
    assert sock.recv(10) == b""
    assert 1 < time.monotonic() - started < 50


def test_strangers_cannot_use_up_all_connections(worker: WorkerProcess) -> None:
    client = worker.client()
    assert client.execute("true")["exit_code"] == 0
    strangers = [wait_until(lambda: connect(client)) for _ in range(400)]
    wait_until(lambda: connect(client))
    assert client.execute("true")["exit_code"] == 0
    assert client.call("/health", "GET")["commands"] == 0
    for stranger in strangers:
        stranger.close()


def connect(client: Client) -> socket.socket | None:
    try:
        return client.connect()
    except BlockingIOError:  # the backlog of the listening socket is full
        return None


def test_a_request_arrives_byte_by_byte(client: Client) -> None:
    sock = client.connect()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    for byte in client.raw_head("/health", {}).replace(b"POST", b"GET"):
        sock.send(bytes([byte]))
    assert set(json.loads(read_response(sock)).values()) == {0}


def test_connection_close_is_obeyed(client: Client) -> None:
    sock = client.connect()
    sock.sendall(b"GET /health HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n")
    assert read_response(sock)
    assert sock.recv(1) == b""


def test_a_tcp_worker_serves_the_same(start: Callable[..., WorkerProcess]) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    start(listen=f"127.0.0.1:{port}")

    def ask_proof() -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=5) as sock:
                sock.sendall(b"GET /proof?nonce=0123456789abcdef HTTP/1.1\r\n\r\n")
                return read_response(sock)
        except ConnectionRefusedError:
            return b""

    assert json.loads(wait_until(ask_proof))["protocol"] == 1


def test_a_request_that_is_sent_early_is_answered_in_its_turn(
    steady: Client, steady_home: Path
) -> None:
    sock = steady.start("touch up; until [ -e early ]; do sleep 0.01; done; rm up early")
    wait_until((steady_home / "up").exists)
    sock.sendall(b"GET /health HTTP/1.1\r\nconnection: close\r\n" + HEAD + b"\r\n")
    steady.execute("touch early")
    answers = b"".join(iter(lambda: sock.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 ") == 2
    assert answers.index(b'"exit"') < answers.index(b'"processes"')
