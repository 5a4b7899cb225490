"""Answers that are large: whole, and never in a server's memory as what JSON makes of them."""

from __future__ import annotations

import json
import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from oneseek_sandbox.http.answering import json_pieces
from oneseek_sandbox.models import ReadFileAnswer

MEBIBYTE = 1024 * 1024
SIZE = 10 * MEBIBYTE

pytestmark = pytest.mark.finding(23)


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(settings={"PROVISIONER_MAX_REQUEST_BYTES": str(2 * SIZE)})


@pytest.fixture(scope="module")
def client(server):
    with server.client() as client:
        client.post("/v1/sandbox/acquire", json={"thread_id": "large"}).raise_for_status()
        yield client


def ask(client, verb, **fields):
    return client.post(f"/v1/sandbox/{verb}", json={"thread_id": "large", **fields}, timeout=120)


def printing(character):
    """Return a command that prints SIZE bytes on both streams."""
    program = (
        f"import os, sys; data = {character!r}.encode() * ({SIZE} // len({character!r}.encode()))\n"
        "for fd in (1, 2):\n    left = memoryview(data)\n"
        "    while left: left = left[os.write(fd, left):]"
    )
    return {"command": ["python3", "-c", program], "max_output_bytes": SIZE}


def most_memory(server):
    with open(f"/proc/{server.process.pid}/status") as status:
        (line,) = (line for line in status if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


@pytest.mark.parametrize("character", ["\x01", "\\", "ä", "\U0001f600"])
def test_what_grows_in_json_takes_little_memory(server, client, character):
    def run(_):
        while (answer := ask(client, "execute", **printing(character))).status_code == 503:
            assert answer.json()["error"]["code"] == "server_busy"
        return answer

    with ThreadPoolExecutor(4) as callers:
        answers = list(callers.map(run, range(4)))
    for answer in answers:
        found = answer.json()
        wanted = character * (SIZE // len(character.encode()))
        assert (found["exit_code"], found["stdout_bytes"]) == (0, len(wanted.encode()))
        assert found["stdout"] == wanted
        assert found["stderr"] == wanted
    assert most_memory(server) < 300


def test_a_large_file_is_read_whole(client):
    content = '\x01\u2028\U0001f600"' * (SIZE // 9)
    answer = ask(client, "write_file", path="/workspace/large", content=content)
    assert answer.status_code == 200, answer.text
    read = ask(client, "read_file", path="/workspace/large", limit=2 * SIZE)
    assert read.json()["content"] == content


def test_room_for_output_is_free_when_the_answer_was_taken(server, client):
    body = json.dumps({"thread_id": "large", **printing("\x01")}).encode()
    head = f"POST /v1/sandbox/execute HTTP/1.1\r\nhost: {server.url[7:]}\r\n"
    slow = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
    for connection in slow:
        connection.sendall(
            f"{head}content-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            + body
        )
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
    assert ask(client, "execute", **printing("\x01")).status_code == 503
    assert ask(client, "execute", command="echo small").json()["stdout"] == "small\n"
    for connection in slow:
        connection.close()
    while (answer := ask(client, "execute", **printing("\x01"))).status_code == 503:
        pass
    assert answer.status_code == 200


@pytest.mark.parametrize("text", ["", "short", '\x00ä\U0001f600"\\' * 100_000])
def test_the_pieces_are_the_whole(text):
    answer = ReadFileAnswer(
        path="/workspace/a",
        content=text,
        encoding="utf-8",
        size=1,
        sha256=None,
        total_lines=None,
        truncated=False,
    )
    pieces = list(json_pieces(answer))
    assert json.loads(b"".join(pieces)) == json.loads(answer.model_dump_json(by_alias=True))
    assert max(map(len, pieces)) < 2 * MEBIBYTE
