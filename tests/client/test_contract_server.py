"""A backend over HTTP to a server keeps the contract of the eight verbs."""

from __future__ import annotations

from tests.client.backend_contract import BackendContract


class TestProvisioner(BackendContract):
    """HTTP to a server."""

    kind = "provisioner"
