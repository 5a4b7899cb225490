"""What a call's end looks like on stderr, against servers that misbehave."""

from __future__ import annotations

import json
import socket
import threading
from contextlib import contextmanager

import pytest

from oneseek_sandbox.cli.connection import Connection
from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.client.streams import Ended, Gap, Output


@contextmanager
def serving(answer: bytes):
    """Answer the first request on a port with exactly these bytes."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def once() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            thread.join(5)


def http_answer(status: str, body: bytes, content_type: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {content_type}\r\ncontent-length: {len(body)}\r\n"
    return f"{head}connection: close\r\n\r\n".encode() + body


def failure(server: str) -> CommandLineError:
    with pytest.raises(CommandLineError) as caught:
        Connection(server, "").call("acquire", {"thread_id": "t"})
    return caught.value


def test_an_error_shows_its_code_and_its_message():
    body = json.dumps({"error": {"code": "capacity", "message": "Wait 10 s.", "trace_id": "ab"}})
    with serving(http_answer("429 Too Many Requests", body.encode())) as server:
        error = failure(server)
    assert (error.message, error.exit_status) == ("capacity: Wait 10 s.", 1)


def test_an_error_of_the_server_shows_the_trace_and_what_may_have_run():
    body = {"code": "internal", "message": "A\nfault.", "trace_id": "ab12", "may_have_run": True}
    with serving(http_answer("500 Oops", json.dumps({"error": body}).encode())) as server:
        error = failure(server)
    assert error.message == "internal: A fault. (the command may have run) [trace ab12]"


def test_a_server_that_is_not_there_is_69_and_says_how_to_start_one():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}")
    assert error.exit_status == 69
    assert "oneseek-sandbox serve" in error.message
    assert f"127.0.0.1:{port}" in error.message


@pytest.mark.parametrize(
    "answer",
    [
        http_answer("404 Not Found", b"<h1>nginx</h1>", "text/html"),
        http_answer("200 OK", b"[1, 2]"),
        http_answer("200 OK", b"\xff\xfe"),
        http_answer("500 Oops", b'{"error": "text"}'),
    ],
    ids=["html", "list", "binary", "other error form"],
)
def test_a_stranger_on_the_port_is_told_apart(answer):
    with serving(answer) as server:
        error = failure(server)
    assert "not as an oneseek-sandbox server does" in error.message


def test_a_connection_that_breaks_off_says_that_the_outcome_is_not_known():
    with serving(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{") as server:
        error = failure(server)
    assert error.exit_status == 69
    assert "not known" in error.message


@pytest.mark.parametrize("server", ["", "127.0.0.1:8002", "ftp://host", "http://", "http://[::"])
def test_an_address_that_is_no_url_is_wrong_usage(server):
    with pytest.raises(CommandLineError, match="is not a provisioner URL") as caught:
        Connection(server, "")
    assert caught.value.exit_status == 2


@pytest.mark.parametrize("key", [" blank-first", "schlüssel", "line\nbreak"])
def test_a_key_that_no_header_carries_is_refused_without_being_shown(key):
    with pytest.raises(CommandLineError) as caught:
        Connection("http://127.0.0.1", key)
    assert key not in caught.value.message


def test_an_error_of_a_later_version_keeps_its_code():
    body = {"code": "of_later_days", "message": "Wait.", "retryable": True}
    with serving(http_answer("503 Later", json.dumps({"error": body}).encode())) as server:
        error = failure(server)
    assert "of_later_days: Wait." in error.message


def events(body):
    with serving(http_answer("200 OK", body, "text/event-stream")) as server:
        yield from Connection(server, "").events({"thread_id": "t", "command": "true"})


def test_events_are_given_as_what_they_are_and_unknown_ones_are_not():
    stream = (
        b'event: stdout\ndata: {"text": "a"}\n\n'
        b"event: of_later_days\ndata: {}\n\n"
        b'event: gap\ndata: {"stream": "stderr", "bytes": 7}\n\n'
        b'event: exit\ndata: {"exit_code": 3, "of_later_days": 1}\n\n'
    )
    assert list(events(stream)) == [
        Output("stdout", "a"),
        Gap("stderr", 7),
        Ended({"exit_code": 3, "of_later_days": 1}),
    ]


def test_an_error_amid_a_stream_comes_after_the_output_before_it():
    stream = (
        b'event: stdout\ndata: {"text": "a"}\n\n'
        b'event: error\ndata: {"error": {"code": "sandbox_lost", "message": "Gone."}}\n\n'
    )
    seen = []
    with pytest.raises(CommandLineError, match=r"^sandbox_lost: Gone\.$"):
        for event in events(stream):
            seen.append(event)  # noqa: PERF402 - what came before the error
    assert seen == [Output("stdout", "a")]


def test_a_stream_without_an_end_says_that_the_outcome_is_not_known():
    with pytest.raises(CommandLineError, match=r"how the command ended.*not known") as caught:
        list(events(b'event: stdout\ndata: {"text": "a"}\n\n'))
    assert caught.value.exit_status == 69
