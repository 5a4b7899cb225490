"""Who may call, and what each part may do in the cluster."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import secrets

import httpx
import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e


@pytest.mark.parametrize("verb", cluster.VERBS)
@pytest.mark.parametrize("key", ["wrong-key-of-some-length", ""])
async def test_the_wrong_key_is_refused_by_every_function(new_client, verb, key):
    response = await new_client(key).post(f"/v1/sandbox/{verb}", json={})
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "unauthenticated"


@pytest.mark.skipif("KNATIVE_INGRESS" not in os.environ, reason="needs a way past the route")
@pytest.mark.parametrize("verb", cluster.VERBS)
async def test_a_function_is_not_public_beside_the_route(verb):
    url = cluster.read("ksvc", cluster.service(verb))["status"]["url"]
    assert url.endswith(".svc.cluster.local")
    async with httpx.AsyncClient(base_url=os.environ["KNATIVE_INGRESS"]) as client:
        host = url.removeprefix("http://")
        response = await client.post("/", headers={"host": host}, json={})
    assert response.status_code == 404


@pytest.mark.parametrize("resource", ["pods", "secrets", "configmaps", "deployments.apps"])
@pytest.mark.parametrize("right", ["get", "list", "create", "delete", "patch", "watch"])
@pytest.mark.parametrize("namespace", [cluster.SANDBOXES, cluster.SYSTEM])
def test_the_data_verbs_account_may_nothing(resource, right, namespace):
    assert _may("sandbox-data", right, resource, namespace) == "no"


@pytest.mark.parametrize("account", ["sandbox-acquire", "sandbox-release", "sandbox-cleanup-idle"])
def test_no_control_verb_may_read_secrets_or_enter_pods(account):
    for right in ("get", "create", "list"):
        for namespace in (cluster.SANDBOXES, cluster.SYSTEM):
            for resource in ("secrets", "serviceaccounts"):
                assert _may(account, right, resource, namespace) == "no", (right, resource)
            for inner in ("exec", "attach", "portforward", "proxy", "ephemeralcontainers"):
                allowed = _may(account, right, "pods", namespace, f"--subresource={inner}")
                assert allowed == "no", (right, inner)


def test_release_may_only_look_and_end():
    rights = ["get", "list", "watch", "create", "patch", "update", "delete"]
    allowed = [r for r in rights if _may("sandbox-release", r, "pods", cluster.SANDBOXES) == "yes"]
    assert allowed == ["get", "list", "delete"]


def _may(account, right, resource, namespace, *options):
    who = f"system:serviceaccount:{cluster.SYSTEM}:{account}"
    arguments = ("auth", "can-i", right, resource, "--as", who, *options)
    return cluster.kubectl(*arguments, namespace=namespace, check=False).strip()


async def test_a_sandbox_has_no_token_no_cluster_and_no_way_to_write_its_root(acquire, call):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}

    async def run(command):
        return await call("execute", **sandbox, command=command)

    assert (await run("ls /var/run/secrets"))["exit_code"] != 0
    assert (await run("env | grep -i -e KUBERNETES -e _SERVICE_ -e REDIS"))["stdout"] == ""
    assert "Read-only" in (await run("touch /usr/x"))["stderr"]
    assert (await run("id -u"))["stdout"].strip() != "0"
    assert (await run("grep CapEff /proc/self/status"))["stdout"].split()[1] == "0" * 16
    assert (await run("grep NoNewPrivs /proc/self/status"))["stdout"].split()[1] == "1"


async def test_a_key_is_added_and_taken_away_without_a_refused_call(acquire, client, new_client):
    sandbox = {"sandbox_id": (await acquire())["sandbox_id"]}
    keys = cluster.secret("oneseek-sandbox-keys", "keys.json")
    added = secrets.token_hex(16)
    newcomer = new_client(added)

    async def seen():
        old = await client.post("/v1/sandbox/ls", json=sandbox)
        assert old.status_code == 200, "the key of before was refused"
        return (await newcomer.post("/v1/sandbox/ls", json=sandbox)).status_code

    assert await seen() == 401
    _put_keys([*json.loads(keys), {"name": "added", "key": added}])
    try:
        async with asyncio.timeout(180):
            while await seen() != 200:
                await asyncio.sleep(0.5)
    finally:
        _put_keys(json.loads(keys))
    async with asyncio.timeout(180):
        while await seen() != 401:
            await asyncio.sleep(0.5)


def _put_keys(keys):
    data = {"keys.json": base64.b64encode(json.dumps(keys).encode()).decode()}
    cluster.kubectl(
        "patch", "secret", "oneseek-sandbox-keys", "--type=merge", "-p", json.dumps({"data": data})
    )
    # A kubelet looks at what is mounted once a minute, and at once when something of the pod changes.
    look = f"oneseek-sandbox-test/look={secrets.token_hex(4)}"
    cluster.kubectl("annotate", "--overwrite", "pods", "-l", "serving.knative.dev/service", look)
