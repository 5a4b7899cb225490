"""A port for a server of a test stays its own until the server takes it."""

from __future__ import annotations

import socket

import pytest

from oneseek_sandbox.testing.server import free_port


def test_nobody_gets_a_servers_port_by_chance():
    port = free_port()
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.bind(("127.0.0.1", port))


def test_a_server_can_listen_on_its_port():
    port = free_port()
    with socket.create_server(("127.0.0.1", port)), socket.create_connection(("127.0.0.1", port)):
        pass
