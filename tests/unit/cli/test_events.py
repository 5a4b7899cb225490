"""The event that starts a cleanup arrives, with one id, however often it is sent."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from oneseek_sandbox.cli import events
from oneseek_sandbox.cli.connection import Connection
from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.options import connect


@pytest.fixture
def function():
    """A function that answers with the statuses of a list, and remembers what it was asked."""

    class Function(BaseHTTPRequestHandler):
        url = ""
        statuses: list[int] = []  # noqa: RUF012
        asked: list[dict[str, str]] = []  # noqa: RUF012

        def do_POST(self):
            self.asked.append({name.lower(): value for name, value in self.headers.items()})
            self.send_response(self.statuses.pop(0))
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    Function.statuses, Function.asked = [], []
    server = HTTPServer(("127.0.0.1", 0), Function)
    serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    serving.start()
    Function.url = f"http://127.0.0.1:{server.server_port}"
    yield Function
    server.shutdown()
    serving.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda _: None)


def test_the_event_is_sent_again_with_its_id_until_it_is_taken(function):
    function.statuses += [503, 429, 204]
    events.send_cleanup_event(Connection(function.url, ""), "tick-7")
    assert [request["ce-id"] for request in function.asked] == ["tick-7"] * 3
    assert function.asked[0]["ce-specversion"] == "1.0"
    assert len({request["ce-time"] for request in function.asked}) == 1


def test_a_refusal_is_final(function):
    function.statuses += [401, 204]
    with pytest.raises(CommandLineError, match="401"):
        events.send_cleanup_event(Connection(function.url, ""), "tick-7")
    assert len(function.asked) == 1


def test_nobody_there_is_an_error_in_the_end(monkeypatch):
    monkeypatch.setattr(events, "_DEADLINE_SECONDS", 0.2)
    with pytest.raises(CommandLineError, match="did not take the event"):
        events.send_cleanup_event(Connection("http://127.0.0.1:1", ""), "tick-7")


def test_a_key_can_be_in_a_file(function, tmp_path):
    (tmp_path / "key").write_text("key-of-the-cron-job\n")
    function.statuses += [204]
    events.send_cleanup_event(connect(function.url, f"@{tmp_path}/key"), "tick-7")
    assert function.asked[0]["authorization"] == "Bearer key-of-the-cron-job"


def test_a_key_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(CommandLineError, match="none"):
        connect("http://127.0.0.1:1", f"@{tmp_path}/none")
