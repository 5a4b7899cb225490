"""A backend in its own process, with leases in a file, keeps the contract of the eight verbs."""

from __future__ import annotations

from tests.client.backend_contract import BackendContract


class TestLocalWithAFile(BackendContract):
    """In this process, leases in a file."""

    kind = "local-file"
