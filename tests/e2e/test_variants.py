"""The essential part of the contract on the deployment's variants: another route, no key, gVisor."""

from __future__ import annotations

import asyncio
import os
import secrets

import httpx
import pytest
import pytest_asyncio
import yaml
from tests.e2e import cluster

from oneseek_sandbox.testing.verbs import VerbsContract
from oneseek_sandbox.testing.verbs.calls import call, refused

pytestmark = pytest.mark.e2e

OVERLAY = "kustomize/overlays/local-gateway-api"
GATEWAY_KINDS = ("Gateway", "HTTPRoute", "ReferenceGrant")


def _exists(*what):
    return bool(cluster.kubectl("get", *what, "--ignore-not-found", "-o", "name", check=False))


@pytest_asyncio.fixture(scope="class", loop_scope="class")
async def gvisor():
    if not _exists("runtimeclass", "gvisor"):
        pytest.skip("this cluster has no RuntimeClass gvisor")
    gvisor = {"PROVISIONER_RUNTIME_CLASS": "gvisor"}
    async with cluster.changed(["acquire", "cleanup_idle"], env=gvisor):
        yield


@pytest.fixture(scope="class")
def gateway_host():
    if not _exists("gatewayclass", "traefik"):
        pytest.skip(f"this cluster has no GatewayClass traefik, which {OVERLAY} names")
    rendered = yaml.safe_load_all(cluster.kubectl("kustomize", OVERLAY))
    objects = [item for item in rendered if item["kind"] in GATEWAY_KINDS]
    assert {item["kind"] for item in objects} == set(GATEWAY_KINDS)
    (route,) = (item for item in objects if item["kind"] == "HTTPRoute")
    # The rest of the overlay is deployed already.
    manifest = yaml.safe_dump_all(objects)
    cluster.kubectl("apply", "-f", "-", given=manifest, namespace=None)
    yield route["spec"]["hostnames"][0]
    cluster.kubectl("delete", "-f", "-", given=manifest, namespace=None)


async def test_nobody_is_asked_for_a_key_where_the_setting_says_so(new_client):
    """By functions with the setting; one without it asks as ever."""
    without = {"PROVISIONER_API_KEYS_FILE": "", "PROVISIONER_ALLOW_NO_KEY": "true"}
    client = new_client(None)
    async with cluster.changed(["acquire", "write_file", "execute", "release"], env=without):
        # For a moment the ingress asks the revision of before, which still wants a key.
        async with asyncio.timeout(60):
            for verb in ("acquire", "write_file", "execute", "release"):
                while (await client.post(f"/v1/sandbox/{verb}", json={})).status_code == 401:
                    await asyncio.sleep(0.2)
        acquired = await call(client, "acquire", thread_id=f"e2e-{secrets.token_hex(4)}")
        name = {"sandbox_id": acquired["sandbox_id"]}
        await call(client, "write_file", **name, path="/workspace/x", content="open")
        assert (await call(client, "execute", **name, command="cat x"))["stdout"] == "open"
        await refused(client, "ls", status=401, code="unauthenticated", **name)
        assert (await call(client, "release", **name))["released"] is True


@pytest.mark.usefixtures("gvisor")
class TestGvisor(VerbsContract):
    """Sandboxes have a kernel of their own."""

    only_essential = True

    @pytest.fixture
    async def client(self, client):
        return client

    @pytest.mark.essential
    async def test_the_kernel_is_gvisors(self, sandbox):
        pod = cluster.pod_of(sandbox.id)
        assert pod["spec"]["runtimeClassName"] == "gvisor"
        assert "gVisor" in (await sandbox.run("cat /proc/version; dmesg"))["stdout"]


class TestGatewayApi(VerbsContract):
    """The public way is an HTTPRoute."""

    only_essential = True

    @pytest.fixture
    async def client(self, gateway_host, key):
        url = os.environ.get("KNATIVE_INGRESS") or _address_of_gateway()
        headers = {"authorization": f"Bearer {key}", "host": gateway_host}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=200) as client:
            await cluster.answers(client)
            yield client

    @pytest.mark.essential
    @pytest.mark.parametrize("verb", cluster.VERBS)
    async def test_every_verb_leads_to_its_own_function(self, client, verb):
        answer = await client.delete(f"/v1/sandbox/{verb}")
        assert answer.status_code == 405
        assert answer.json()["error"]["message"].startswith(f"{verb} is called with POST")


def _address_of_gateway():
    (address, *_) = cluster.read("gateway", "oneseek-sandbox")["status"]["addresses"]
    return f"http://{address['value']}"
