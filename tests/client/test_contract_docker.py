"""A backend whose sandboxes are containers keeps the contract of the eight verbs."""

from __future__ import annotations

import pytest
from tests.client.backend_contract import BackendContract

pytestmark = pytest.mark.docker


class TestDockerWithAFile(BackendContract):
    """Containers of an engine, leases in a file."""

    kind = "docker-file"


class TestDockerWithRedis(BackendContract):
    """Containers of an engine, leases in Redis."""

    kind = "docker-redis"
    only_essential = True
