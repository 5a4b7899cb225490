"""How the command line finds its server and key, and what it says when it is used wrongly."""

from __future__ import annotations

import socket
import time

import pytest


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
