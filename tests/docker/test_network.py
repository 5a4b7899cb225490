"""A sandbox that may reach the internet, and nothing else."""

from __future__ import annotations

import socket

import pytest
from tests.docker.test_isolation import CONNECT

from oneseek_sandbox.runtimes import routes
from oneseek_sandbox.runtimes.docker.container_spec import PORT

pytestmark = pytest.mark.docker

CLOSED = "Network is unreachable"


@pytest.fixture(scope="module")
def server_settings():
    return {"PROVISIONER_NETWORK": "on"}


@pytest.fixture
def sandbox(new_sandbox):
    return new_sandbox("network")


def test_there_is_a_way_out(sandbox):
    routes_seen = sandbox.run("cat /proc/net/route")["stdout"]
    assert any(line.split()[1] == "00000000" for line in routes_seen.splitlines()[1:])


@pytest.mark.parametrize("address", ["10.0.0.1", "169.254.169.254", "192.168.0.1", "172.17.0.1"])
def test_private_addresses_are_closed(sandbox, address):
    assert sandbox.run(CONNECT.format(address, 80))["stdout"].strip() == CLOSED


def test_neither_another_sandbox_nor_the_host_is_reached(sandbox, new_sandbox, listener_of):
    network = listener_of(new_sandbox("neighbour"))
    listener = socket.create_server(("0.0.0.0", 0))
    port = listener.getsockname()[1]
    targets = [(network["IPAddress"], PORT)]
    targets += [(address, port) for address in routes.own_addresses()]
    targets.append((listener_of(sandbox)["Gateway"], port))
    for address, number in targets:
        seen = sandbox.run(CONNECT.format(address, number))["stdout"].strip()
        assert seen == CLOSED, (address, seen)
    listener.close()


def test_names_are_resolved(sandbox, listener_of):
    name = listener_of(sandbox)["container"]  # engines resolve those of their networks
    answer = sandbox.run(f"python3 -c 'import socket; print(socket.gethostbyname(\"{name}\"))'")
    assert answer["stdout"].strip() == listener_of(sandbox)["IPAddress"], answer["stderr"]


def test_what_is_closed_cannot_be_opened_from_inside(sandbox):
    program = """python3 - <<'PROGRAM'
import os, socket, struct
netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
# RTM_DELRULE of the rules that close
rule = struct.pack("=BBBBBBBBI", socket.AF_INET, 0, 0, 0, 0, 0, 0, 7, 0)
rule += struct.pack("=HHI", 8, 6, 101)
netlink.send(struct.pack("=IHHII", 16 + len(rule), 33, 0x5, 1, 0) + rule)
print(os.strerror(-struct.unpack("=i", netlink.recv(4096)[16:20])[0]))
PROGRAM"""
    assert sandbox.run(program)["stdout"].strip() == "Operation not permitted"


def test_a_network_ends_with_its_sandbox(sandbox, engine):
    before = len(engine.networks("oneseek-sandbox.role=network"))
    sandbox.release()
    assert len(engine.networks("oneseek-sandbox.role=network")) == before - 1
