"""What `serve` prints when it listens."""

from __future__ import annotations

import json
import shlex
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from oneseek_sandbox.cli.banner import banner, farewell
from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.serving import read_settings
from oneseek_sandbox.settings import Settings

KEY = "a-very-secret-key-0001"


@pytest.fixture
def recorder():
    """A server that keeps what it was sent."""
    calls = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            calls.append((self.path, self.headers, json.loads(body)))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", calls
        server.shutdown()
        thread.join()


def paste(line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    path = {"PATH": "/usr/local/bin:/usr/bin:/bin"}
    return subprocess.run(
        ["sh", "-c", line], env=path | environment, capture_output=True, text=True, check=False
    )


def test_the_last_line_works_when_pasted(recorder):
    url, calls = recorder
    result = paste(banner(Settings(), url).splitlines()[-1])
    assert result.returncode == 0, result.stderr
    path, headers, body = calls[0]
    assert path == "/v1/sandbox/acquire"
    assert headers["content-type"] == "application/json"
    assert body == {"thread_id": "demo"}


def test_the_last_line_takes_the_key_from_the_environment(recorder):
    url, calls = recorder
    line = banner(Settings(api_key=KEY), url).splitlines()[-1]
    assert paste(line, PROVISIONER_API_KEY=KEY).returncode == 0
    assert calls[0][1]["authorization"] == f"Bearer {KEY}"


def test_the_last_line_asks_for_a_key_that_is_not_there(recorder):
    url, calls = recorder
    line = banner(Settings(api_key=KEY), url).splitlines()[-1]
    assert "PROVISIONER_API_KEY" in paste(line).stderr
    assert calls == []


def test_no_secret_is_printed():
    settings = Settings(api_key=KEY, redis_url="redis://user:hunter2@cache:6379/0")
    text = banner(settings, "http://127.0.0.1:8002")
    assert KEY not in text
    assert "hunter2" not in text
    assert "redis://cache:6379" in text


def test_a_server_without_a_key_says_so():
    assert "PROVISIONER_API_KEY" in banner(Settings(), "http://127.0.0.1:8002")


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ({}, "an embedded Valkey server"),
        ({"state_store": "file"}, "a file, leases/book in the state folder"),
        (
            {"state_store": "file", "redis_url": "redis://cache"},
            "a file, leases/book in the state folder",
        ),
        ({"state_store": "redis", "redis_url": "redis://cache"}, "redis://cache"),
    ],
)
def test_what_keeps_the_leases_is_printed(given, kept):
    (line,) = [
        line
        for line in banner(Settings(**given), "http://127.0.0.1:8002").splitlines()
        if line.startswith("  leases ")
    ]
    assert line.removeprefix("  leases ").strip().startswith(kept)


def test_the_state_folder_is_printed():
    home = Path("/a folder/of mine")
    assert str(home) in banner(Settings(home=home), "http://127.0.0.1:8002")


def test_the_command_line_goes_before_the_environment(monkeypatch):
    monkeypatch.setenv("PORT", "9000")
    monkeypatch.setenv("PROVISIONER_HOST", "::1")
    assert read_settings(None, 9001).port == 9001
    assert read_settings(None, None).host == "::1"


def test_a_wrong_setting_is_named(monkeypatch):
    monkeypatch.setenv("PROVISIONER_IDLE_TIMEOUT_SECONDS", "soon")
    with pytest.raises(CommandLineError, match="PROVISIONER_IDLE_TIMEOUT_SECONDS"):
        read_settings()


def test_the_curl_line_is_one_shell_command():
    line = banner(Settings(), "http://127.0.0.1:8002").splitlines()[-1]
    assert shlex.split(line)[0] == "curl"


def without_control_groups(monkeypatch, *, old_kernel=False):
    from oneseek_sandbox.runtimes.local import cgroups, host

    monkeypatch.setattr(cgroups, "find_parents", list)
    monkeypatch.setattr(host, "limits_processes", lambda: not old_kernel)


def test_limits_that_this_user_cannot_set_are_named(monkeypatch):
    without_control_groups(monkeypatch)
    text = banner(Settings(memory_limit_mb=300, cpu_limit=2), "http://127.0.0.1:8002")
    (line,) = [line for line in text.splitlines() if "not enforced here" in line]
    assert "memory (300 MiB for each process instead), CPU;" in line
    assert "doctor" in line
    assert "processes" not in line
    without_control_groups(monkeypatch, old_kernel=True)
    assert "processes (counted by the worker" in banner(Settings(), "http://127.0.0.1:8002")


def test_limits_that_hold_are_not_called_missing(monkeypatch, tmp_path):
    from oneseek_sandbox.runtimes.local import cgroups

    every = cgroups.Parent(tmp_path, 2, frozenset({"memory", "pids", "cpu"}))
    monkeypatch.setattr(cgroups, "find_parents", lambda: [every])
    text = banner(Settings(cpu_limit=2), "http://127.0.0.1:8002")
    assert "2048 MiB of memory, 2 CPUs, 512 processes and 2048 MiB of disk" in text
    assert "not enforced" not in text


def test_what_stays_after_ctrl_c_is_printed_with_the_command_that_ends_it(tmp_path):
    home = tmp_path / "a home"
    for text in (
        banner(Settings(home=home), "http://127.0.0.1:8002"),
        farewell(Settings(home=home)),
    ):
        assert f"PROVISIONER_HOME='{home}'" in text
        assert "oneseek-sandbox stop" in text
    assert "No sandbox is alive" in farewell(Settings(home=home))


@pytest.mark.parametrize("given", [{"state_store": "file"}, {"redis_url": "redis://cache"}])
def test_no_valkey_is_spoken_of_where_none_was_started(given, tmp_path):
    settings = Settings(home=tmp_path, **given)
    assert "Valkey" not in banner(settings, "http://127.0.0.1:8002")
    assert "Valkey" not in farewell(settings)
