"""The contract of the eight verbs, kept by a backend of one kind."""

from __future__ import annotations

import httpx
import pytest
from tests.client.conftest import KEY

from oneseek_sandbox.testing.verbs import VerbsContract

__all__ = ["BackendContract"]


class BackendContract(VerbsContract):
    """One of the kinds that the modules `test_contract_*` have a class for."""

    kind = ""

    @pytest.fixture
    async def client(self, relay):
        headers = {"authorization": f"Bearer {KEY}"}
        url = relay(self.kind)
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60) as client:
            yield client
