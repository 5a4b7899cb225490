"""Servers of the tests' own, as processes; all end with their sandboxes and their store."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.server import live_servers


@pytest.fixture(scope="session")
def new_server(tmp_path_factory):
    """Return a function that starts a server."""
    yield from live_servers(tmp_path_factory.mktemp("servers"))
