"""Transfers that go wrong leave nothing half done."""

from __future__ import annotations

import hashlib
import http.server
import io
import os
import threading
from types import SimpleNamespace

import pytest

from oneseek_sandbox.cli.connection import Connection
from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.transfer import receive_file, send_file

CONTENT = b'{"new": "content"}'
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def server():
    """A server whose file answers have the headers and the length that a test wants."""
    facts = {"x-sandbox-size": str(len(CONTENT)), "x-sandbox-truncated": "false"}
    wanted = SimpleNamespace(headers=facts, length=len(CONTENT), bodies=[])

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            wanted.bodies.append(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            for name, value in ({"content-length": str(wanted.length)} | wanted.headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(CONTENT)

        def log_message(self, *arguments):
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as listener:
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        wanted.connection = Connection(f"http://127.0.0.1:{listener.server_port}", "")
        yield wanted
        listener.shutdown()
        thread.join()


@pytest.fixture
def kept(tmp_path):
    file = tmp_path / "kept"
    file.write_text("old content")
    file.chmod(0o640)
    return file


def test_a_file_with_the_announced_hash_takes_the_place_and_keeps_the_mode(server, kept):
    server.headers["x-sandbox-sha256"] = HASH
    receive_file(server.connection, {"thread_id": "t"}, "/workspace/f", str(kept))
    assert kept.read_bytes() == CONTENT
    assert kept.stat().st_mode & 0o777 == 0o640


def test_a_file_with_another_hash_is_not_written(server, kept):
    server.headers["x-sandbox-sha256"] = "0" * 64
    with pytest.raises(CommandLineError, match="changed while it was read"):
        receive_file(server.connection, {"thread_id": "t"}, "/workspace/f", str(kept))
    assert kept.read_text() == "old content"
    assert list(kept.parent.iterdir()) == [kept]


def test_a_file_that_breaks_off_is_not_written(server, kept):
    server.length += 1
    with pytest.raises(CommandLineError):
        receive_file(server.connection, {"thread_id": "t"}, "/workspace/f", str(kept))
    assert kept.read_text() == "old content"
    assert list(kept.parent.iterdir()) == [kept]


def test_a_local_directory_that_is_not_there_is_named(server, tmp_path):
    with pytest.raises(CommandLineError, match=r"cannot write .*absent/f: No such file"):
        receive_file(server.connection, {}, "/workspace/f", str(tmp_path / "absent" / "f"))


@pytest.fixture
def changing(tmp_path, monkeypatch):
    """A function that makes a file change right after its size was looked at."""
    file = tmp_path / "f"
    file.write_bytes(b"abc")
    fstat = os.fstat

    def change_to(content):
        def look_then_change(descriptor):
            status = fstat(descriptor)
            file.write_bytes(content)
            return status

        monkeypatch.setattr(os, "fstat", look_then_change)
        return str(file)

    return change_to


def test_a_file_that_grows_while_it_is_sent_goes_as_long_as_announced(server, changing):
    send_file(
        server.connection, {"thread_id": "t"}, changing(b"abc and more"), "/workspace/f", sync=False
    )
    assert server.bodies == [b"abc"]


def test_a_file_that_shrinks_while_it_is_sent_is_an_error(server, changing):
    with pytest.raises(CommandLineError, match="shrank"):
        send_file(server.connection, {"thread_id": "t"}, changing(b"a"), "/workspace/f", sync=False)


def test_standard_input_needs_a_whole_path(server, monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO()))
    with pytest.raises(CommandLineError, match="standard input has no name") as caught:
        send_file(server.connection, {}, "-", "/workspace/", sync=False)
    assert caught.value.exit_status == 2
