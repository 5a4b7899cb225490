"""A namespace of its own on the cluster of KUBECONFIG, and runtimes over it.

The images come by ONESEEK_E2E_SANDBOX_IMAGE, as no test cluster pulls them all.
"""

from __future__ import annotations

import asyncio
import os
import secrets

import pytest

from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi
from oneseek_sandbox.runtimes.kubernetes.runtime import KubernetesRuntime
from oneseek_sandbox.settings import Settings

IMAGE = os.environ.get("ONESEEK_E2E_SANDBOX_IMAGE", "python:3.12-slim")


@pytest.fixture
async def api():
    api = KubernetesApi()
    yield api
    await api.close()


async def make_namespace(api, name):
    """Make a namespace as the manifests do: restricted, with the sandboxes' service account."""
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    await api.create("/api/v1/namespaces", {"metadata": {"name": name, "labels": labels}})
    account = {"metadata": {"name": "oneseek-sandbox"}, "automountServiceAccountToken": False}
    await api.create(f"/api/v1/namespaces/{name}/serviceaccounts", account)


@pytest.fixture
async def namespace(api):
    name = f"oneseek-test-{secrets.token_hex(4)}"
    await make_namespace(api, name)
    yield name
    await api.delete(f"/api/v1/namespaces/{name}")


@pytest.fixture
def settings(namespace):
    return Settings(
        runtime="kubernetes",
        namespace=namespace,
        sandbox_image=IMAGE,
        pod_memory_limit="256Mi",
        allow_open_network=True,
        startup_timeout_seconds=60,
    )


@pytest.fixture
async def new_runtime(settings):
    """Make runtimes over the namespace, with other settings where given."""
    made = []

    async def make(**changes):
        runtime = KubernetesRuntime(settings.model_copy(update=changes))
        await runtime.open()
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        await runtime.close()


@pytest.fixture
async def runtime(new_runtime):
    """A runtime whose upkeep has run once, as the CronJob does."""
    runtime = await new_runtime()
    await runtime.maintain()
    return runtime


@pytest.fixture
def pods(api, namespace):
    """Read, end and wait for pods behind the runtime's back."""
    return PodsByHand(api, f"/api/v1/namespaces/{namespace}/pods")


class PodsByHand:
    def __init__(self, api, path):
        self._api = api
        self._path = path

    async def all(self, selector=""):
        return await self._api.items(self._path, labelSelector=selector)

    async def get(self, name):
        return await self._api.get(f"{self._path}/{name}")

    async def delete(self, name, *, seconds=0):
        await self._api.delete(f"{self._path}/{name}", {"gracePeriodSeconds": seconds})

    async def until(self, wanted, selector="", *, seconds=60):
        """Return the pods when `wanted(pods)` holds."""
        async with asyncio.timeout(seconds):
            while True:
                found = await self.all(selector)
                if wanted(found):
                    return found
                await asyncio.sleep(0.1)
