"""The function `execute`."""

from __future__ import annotations

import httpx
import pytest

from oneseek_sandbox.http.verbs import FUNCTIONS
from oneseek_sandbox.testing.verbs import ExecuteContract, OutputContract, ProcessesContract


async def test_it_is_guarded(guarded):
    await guarded("execute")


class TestExecute(ExecuteContract, OutputContract, ProcessesContract):
    """The whole contract: streaming and dropped connections pass through another server here."""


@pytest.mark.parametrize("verb", ["acquire", "release", "ls", "cleanup_idle"])
async def test_it_does_not_serve_the_verb_of_another_function(functions, verb):
    url = functions.processes["execute"].url
    async with functions.client() as client:
        client._transport = type(client._transport)(
            dict.fromkeys(FUNCTIONS, functions.processes["execute"])
        )
        response = await client.post(f"{url}/v1/sandbox/{verb}", json={"thread_id": "t"})
    assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_verb")


async def test_another_function_does_not_serve_its_verbs(functions):
    async with functions.client() as client:
        client._transport = type(client._transport)(
            dict.fromkeys(FUNCTIONS, functions.processes["ls"])
        )
        for verb in ("execute", "attach", "signal"):
            response = await client.post(f"/v1/sandbox/{verb}", json={"thread_id": "t"})
            assert (response.status_code, response.json()["error"]["code"]) == (404, "unknown_verb")
        # On a path that is no verb's it is its own.
        url = functions.processes["ls"].url
        response = httpx.post(
            f"{url}/any/path", json={"thread_id": "no such"}, headers=client.headers
        )
        assert response.json()["error"]["code"] == "lease_not_found"
