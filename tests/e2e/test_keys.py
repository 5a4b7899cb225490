"""Who may call: at the route and at each function's own address, and while keys change."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets

import pytest
from tests.e2e import cluster, functions, inside

WRONG = "wrong-key-of-some-length"

# Asks each host with a wrong key, with none, and whether it is there at all.
ASK = """
import httpx, json, sys
def status(host, key):
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(f"http://{host}/", json={}, headers=headers, timeout=60).status_code
def answers(host):
    return {
        "wrong": status(host, sys.argv[1]),
        "none": status(host, ""),
        "health": httpx.get(f"http://{host}/healthz", timeout=60).status_code,
    }
print(json.dumps({host: answers(host) for host in sys.argv[2:]}))
"""


@pytest.mark.parametrize("verb", cluster.VERBS)
@pytest.mark.parametrize("key", [WRONG, ""], ids=["wrong", "none"])
async def test_without_the_key_every_verb_is_refused_at_the_route(client, new_client, verb, key):
    response = await new_client(key).post(f"/v1/sandbox/{verb}", json={})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"


def test_without_the_key_every_function_is_refused_at_its_own_address():
    hosts = [f"{functions.service(verb)}.{cluster.SYSTEM}" for verb in cluster.VERBS]
    hosts = [f"{host}.svc.cluster.local" for host in hosts]
    answers = inside.run(ASK, WRONG, *hosts, seconds=180)
    assert answers == {host: {"wrong": 401, "none": 401, "health": 200} for host in hosts}


async def test_keys_come_and_go_without_a_refused_call(acquire, client, new_client):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    before = json.loads(cluster.secret("oneseek-sandbox-keys", "keys.json"))
    added, bound = secrets.token_hex(16), secrets.token_hex(16)
    newcomer, tenant = new_client(added), new_client(bound)

    async def with_the_new_key():
        old = await client.post("/v1/sandbox/ls", json=sandbox)
        assert old.status_code == 200, "the key of before was refused"
        return (await newcomer.post("/v1/sandbox/ls", json=sandbox)).status_code

    assert await with_the_new_key() == 401
    more = [
        {"name": "added", "key": added},
        {"name": "tenant", "key": bound, "scopes": ["tenant-1"]},
    ]
    _put_keys([*before, *more])
    try:
        async with asyncio.timeout(180):
            while await with_the_new_key() != 200:
                await asyncio.sleep(0.5)
            # Each function's pod sees the file in its own time.
            while (refused := await tenant.post("/v1/sandbox/cleanup_idle")).status_code == 401:
                await asyncio.sleep(0.5)
        assert (refused.status_code, refused.json()["error"]["code"]) == (403, "forbidden")
        # Another scope's sandbox is not there for a bound key.
        foreign = await tenant.post("/v1/sandbox/ls", json=sandbox)
        assert (foreign.status_code, foreign.json()["error"]["code"]) == (404, "lease_not_found")
    finally:
        _put_keys(before)
    async with asyncio.timeout(180):
        while await with_the_new_key() != 401:
            await asyncio.sleep(0.5)


def _put_keys(keys):
    data = {"keys.json": base64.b64encode(json.dumps(keys).encode()).decode()}
    body = json.dumps({"data": data})
    cluster.kubectl("patch", "secret", "oneseek-sandbox-keys", "--type=merge", "-p", body)
