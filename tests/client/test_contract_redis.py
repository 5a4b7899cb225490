"""A backend in its own process, with leases in Redis, keeps the contract of the eight verbs."""

from __future__ import annotations

from tests.client.backend_contract import BackendContract


class TestLocalWithRedis(BackendContract):
    """In this process, leases in Redis."""

    kind = "local-redis"
    only_essential = True
