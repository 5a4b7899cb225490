"""User ids, and the routes that sandboxes with network do not have."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import socket
import struct
from pathlib import Path

import pytest

from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.runtimes import routes
from oneseek_sandbox.runtimes.local import host, network


@pytest.fixture
def uid_map(tmp_path):
    def write(text):
        path = tmp_path / "uid_map"
        path.write_text(text)
        return path

    return write


def test_private_users_are_far_above_everybody_else(uid_map):
    users = host.private_users(uid_map("         0          0 4294967295\n"))
    assert users.start >= 2_000_000_000
    assert users.stop < 2**31


def test_in_a_user_namespace_only_mapped_ids_are_used(uid_map):
    users = host.private_users(uid_map("0 1000 1\n1 100000 65536\n"))
    assert users.start > 1000
    assert users.stop <= 65537


def test_too_few_ids_are_refused_with_what_to_do(uid_map):
    with pytest.raises(ConfigurationError, match="ordinary user"):
        host.private_users(uid_map("0 1000 1\n"))


def test_a_folder_that_is_closed_to_others_is_named_with_the_fix(tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    host.require_passable([Path("/usr/bin/env")])
    with pytest.raises(ConfigurationError, match=r"chmod o\+x /"):
        host.require_passable([closed / "file"])


def test_routes_are_netlink_messages_that_close_a_range():
    (message,) = routes.close_routes(["10.0.0.0/8"])
    length, kind = struct.unpack_from("=IH", message)
    assert (length, kind) == (len(message), 24)
    family, bits = struct.unpack_from("=BB", message, 16)
    assert (family, bits) == (socket.AF_INET, 8)
    assert message[16 + 7] == 7
    assert message[-4:] == socket.inet_aton("10.0.0.0")


@pytest.mark.parametrize(
    "address",
    [
        "10.1.2.3",
        "172.31.255.255",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "198.18.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "255.255.255.255",
        "::1",
        "fe80::1",
        "fc00::1",
        "::ffff:10.0.0.1",
        "64:ff9b::a00:1",
    ],
)
def test_what_is_not_the_internet_is_closed(address):
    wanted = ipaddress.ip_address(address)
    ranges = [ipaddress.ip_network(text) for text in routes.CLOSED_RANGES]
    assert any(wanted in range_ for range_ in ranges if range_.version == wanted.version)


@pytest.mark.parametrize("address", ["93.184.216.34", "8.8.8.8", "172.32.0.1", "192.0.2.3"])
def test_what_is_the_internet_is_open(address):
    wanted = ipaddress.ip_address(address)
    ranges = [ipaddress.ip_network(text) for text in routes.CLOSED_RANGES]
    assert not any(wanted in range_ for range_ in ranges if range_.version == 4)


def test_own_addresses_are_read_from_the_kernels_table(tmp_path):
    table = tmp_path / "fib_trie"
    table.write_text(
        "Local:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 127.0.0.1\n        /32 host LOCAL\n"
        "     |-- 203.0.113.7\n        /32 host LOCAL\n     |-- 203.0.113.255\n        /32 link BROADCAST\n"
    )
    assert routes.own_addresses(table) == ["203.0.113.7"]


def test_newer_versions_of_pasta_are_told_not_to_map_this_machine():
    old = network.pasta_command("/usr/bin/pasta", frozenset({"--no-map-gw"}))
    new = network.pasta_command("/usr/bin/pasta", frozenset({"--map-host-loopback"}))
    assert "--no-map-gw" in old
    assert "--map-host-loopback" not in old
    assert new[-2:] == ["--map-host-loopback", "none"]


@pytest.mark.finding(19)
def test_a_folder_that_this_user_may_not_enter_is_named_with_its_owner_and_no_container(tmp_path):
    """Checked by an ordinary user; root, who may enter everything, becomes one in a process."""
    closed = tmp_path / "closed"
    (closed / "home").mkdir(parents=True)
    closed.chmod(0o000)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            if os.geteuid() == 0:
                for folder in tmp_path.parents:
                    if folder.stat().st_uid == 0 and folder != Path("/"):
                        folder.chmod(folder.stat().st_mode | 0o711)
                tmp_path.chmod(0o755)
                os.setgroups([])
                os.setresgid(65534, 65534, 65534)
                os.setresuid(65534, 65534, 65534)
            try:
                (closed / "home" / "sandboxes").mkdir()
            except OSError as error:
                os.write(writing, host.explain_refusal(error).encode())
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    closed.chmod(0o700)
    assert f"because {closed} belongs to user {closed.stat().st_uid} and has mode 0000" in said
    assert "PROVISIONER_HOME" in said
    assert "container" not in said


@pytest.mark.finding(19)
def test_only_that_javas_settings_are_shown_which_hold_no_passwords(tmp_path):
    for name in ("java-17-openjdk/security", "java-17-openjdk/management", "java-app/secret"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "java-17-openjdk" / "net.properties").touch()
    shown = [Path(path).relative_to(tmp_path) for path in host.find_layout(tmp_path).settings]
    assert [str(path) for path in shown] == [
        "java-17-openjdk/net.properties",
        "java-17-openjdk/security",
    ]
