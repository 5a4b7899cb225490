"""What code inside a container attempts, and that it gets nowhere."""

from __future__ import annotations

import socket

import pytest

from oneseek_sandbox.runtimes import routes
from oneseek_sandbox.runtimes.docker.container_spec import PORT

pytestmark = pytest.mark.docker

CONNECT = """python3 - <<'PROGRAM'
import os, socket
try:
    socket.create_connection(("{}", {}), 3)
    print("open")
except TimeoutError:
    print("silent")
except OSError as error:
    print(os.strerror(error.errno))
PROGRAM"""

CALL = """python3 - <<'PROGRAM'
import ctypes, errno, os
libc = ctypes.CDLL(None, use_errno=True)
print("worked" if {} != -1 else errno.errorcode[ctypes.get_errno()])
PROGRAM"""


@pytest.fixture
def sandbox(new_sandbox):
    return new_sandbox("isolation")


def test_code_is_nobody_in_particular(sandbox):
    status = sandbox.run("id -u; id -G; cat /proc/self/status")["stdout"]
    user, groups, *lines = status.splitlines()
    values = dict(line.split(":\t", 1) for line in lines)
    assert (user, groups) == ("1000", "1000")
    assert {values[f"Cap{kind}"].strip("0") for kind in ("Inh", "Prm", "Eff", "Bnd", "Amb")} == {""}
    assert (values["NoNewPrivs"], values["Seccomp"]) == ("1", "2")


@pytest.mark.parametrize(
    "path",
    [
        "/planted",
        "/usr/bin/planted",
        "/etc/passwd",
        "/opt/oneseek-sandbox/worker.py",
        "/run/oneseek-sandbox/listener",
        "/proc/sys/kernel/core_pattern",
        "/proc/sysrq-trigger",
        "/sys/fs/cgroup/cgroup.procs",
        "/dev/planted",
    ],
)
def test_nothing_of_the_system_can_be_written(sandbox, path):
    answer = sandbox.run(f"echo x > {path}")
    assert answer["exit_code"] != 0
    assert any(
        word in answer["stderr"] for word in ("denied", "Read-only", "nonexistent", "No such")
    )


@pytest.mark.parametrize(
    "call",
    [
        'libc.mount(b"none", b"/tmp", b"tmpfs", 0, None)',
        "libc.unshare(0x10000000)",
        "libc.unshare(0x40000000)",
        "libc.ptrace(16, 1, None, None)",
        "libc.chroot(b'/tmp')",
        "libc.setuid(0)",
    ],
)
def test_calls_that_reach_further_are_refused(sandbox, call, engine):
    if engine.is_podman and "0x10000000" in call:
        pytest.skip("Podman's own filter lets programs make user namespaces")
    assert sandbox.run(CALL.format(call))["stdout"].strip() in ("EPERM", "ENOSYS")


def test_the_listening_socket_is_the_workers_alone(sandbox):
    answer = sandbox.run("ls -A /run/oneseek-sandbox; ls /proc/1/fd; cat /proc/1/environ")
    assert answer["stdout"] == ""
    assert answer["stderr"].count("ermission denied") == 2


def test_only_its_own_processes_are_seen(sandbox):
    commands = "for f in /proc/[0-9]*/cmdline; do tr '\\0' ' ' < $f; echo; done"
    seen = [line for line in sandbox.run(commands)["stdout"].splitlines() if line]
    # PID 1, the monitor of this command, and the shell that looks.
    assert len(seen) <= 5, seen
    assert not any("listener.py" in line for line in seen)


def test_nothing_of_the_servers_environment_is_there(sandbox, server):
    seen = sandbox.run("env")["stdout"]
    assert "PROVISIONER" not in seen
    assert server.key not in seen
    assert "DOCKER" not in seen


def test_tmp_is_bounded(sandbox):
    answer = sandbox.run("head -c 40M /dev/zero > /tmp/much; stat -c %s /tmp/much")
    assert "No space left" in answer["stderr"]
    assert int(answer["stdout"]) <= 16 * 1024**2


def test_there_is_no_network_but_loopback(sandbox):
    interfaces = sandbox.run("tail -n +3 /proc/net/dev | cut -d: -f1")["stdout"].split()
    # Kernels may add idle tunnels to every network.
    assert [name for name in interfaces if not name.endswith(("tnl0", "gre0", "sit0"))] == ["lo"]
    assert sandbox.run("cat /proc/net/route | wc -l")["stdout"].strip() == "1"
    assert sandbox.run(CONNECT.format("1.1.1.1", 443))["stdout"].strip() == "Network is unreachable"


def test_neither_another_sandbox_nor_the_host_is_reached(sandbox, new_sandbox, listener_of):
    network = listener_of(new_sandbox("neighbour"))
    listener = socket.create_server(("0.0.0.0", 0))
    port = listener.getsockname()[1]
    targets = [(network["IPAddress"], PORT), (network["Gateway"], port)]
    targets += [(address, port) for address in routes.own_addresses()]
    for address, number in targets:
        with socket.create_connection((address, number), 3):
            pass  # from here there is a way
        seen = sandbox.run(CONNECT.format(address, number))["stdout"].strip()
        assert seen == "Network is unreachable", (address, seen)
    listener.close()


def test_a_workers_port_is_published_on_loopback_only(sandbox, listener_of, engine):
    listener = engine.container(listener_of(sandbox)["container"])
    published = listener["NetworkSettings"]["Ports"][f"{PORT}/tcp"]
    assert [binding["HostIp"] for binding in published] == ["127.0.0.1"]
