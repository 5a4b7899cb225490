"""A busy port names its owner."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

import pytest

from oneseek_sandbox.cli.failure import CommandLineError
from oneseek_sandbox.cli.port import is_our_server, port_owner, require_free_port

LISTENER = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0), family=int(sys.argv[2]))
print(listener.getsockname()[1], flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["127.0.0.1", "0.0.0.0", "::1"])
def listener(request):
    family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
    process = subprocess.Popen(
        [sys.executable, "-c", LISTENER, request.param, str(int(family))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield request.param, int(process.stdout.readline()), process.pid
        process.stdin.close()


def test_a_busy_port_names_the_process(listener):
    host, port, pid = listener
    with pytest.raises(CommandLineError, match=rf"port {port} is taken by python.*pid {pid}\)"):
        require_free_port(host, port)


def test_the_owner_is_found_over_all_processes(listener):
    _, port, pid = listener
    owner = port_owner(port)
    assert (owner.pid, owner.uid) == (pid, os.geteuid())


def test_a_free_port_has_no_owner_and_may_be_taken():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    assert port_owner(port) is None
    require_free_port("127.0.0.1", port)


def test_a_listener_that_never_answers_is_not_ours(listener):
    host, port, _ = listener
    assert not is_our_server(host, port)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(CommandLineError, match=r"cannot listen on 192\.0\.2\.1"):
        require_free_port("192.0.2.1", 8002)


def test_a_host_that_does_not_resolve_is_named():
    with pytest.raises(CommandLineError, match=r"'no\.such\.invalid'"):
        require_free_port("no.such.invalid", 8002)
