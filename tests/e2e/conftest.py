"""A deployment on the cluster of KUBECONFIG, reached by its public route.

With KNATIVE_INGRESS (and the cluster's own domain) the route is asked through the ingress; without,
through `kubectl port-forward`, as on a laptop.
"""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
from urllib.parse import urlsplit

import httpx
import pytest
from tests.e2e import cluster

pytestmark = pytest.mark.e2e


def pytest_collection_modifyitems(items):
    for item in items:
        if "/e2e/" in str(item.path):
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Show what functions and ingress said while a test failed: their logs go with the cluster."""
    report = yield
    if report.failed and call.when == "call" and "/e2e/" in str(item.path):
        report.sections.append(("logs of the way to the sandboxes", cluster.recent_logs()))
    return report


@pytest.fixture(scope="session")
def key():
    return cluster.secret("oneseek-sandbox-keys", "backend-key")


@pytest.fixture(scope="session")
def route():
    """Base URL and Host header of the public route."""
    if ingress := os.environ.get("KNATIVE_INGRESS"):
        url = cluster.read("ksvc", "sandbox-route")["status"]["url"]
        yield ingress, urlsplit(url).hostname
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    forward = subprocess.Popen(
        ["kubectl", "-n", cluster.SYSTEM, "port-forward", "svc/sandbox-provisioner", f"{port}:8002"]
    )
    try:
        yield f"http://127.0.0.1:{port}", None
    finally:
        forward.terminate()
        forward.wait()


@pytest.fixture
async def new_client(route, key):
    """Make clients of the route, with another key where given."""
    clients = []
    url, host = route

    def make(key=key):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        if host:
            headers["host"] = host
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=200)
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(new_client):
    client = new_client()
    await cluster.answers(client)
    return client


@pytest.fixture
async def call(client):
    """Call a verb that must succeed."""

    async def call(verb, **fields):
        response = await client.post(f"/v1/sandbox/{verb}", json=fields)
        assert response.status_code == 200, f"{verb}: {response.status_code} {response.text}"
        return response.json()

    return call


@pytest.fixture
async def acquire(call, client):
    """Acquire sandboxes of new threads; all are released at the end."""
    threads = []

    async def acquire(thread=None, **fields):
        if thread is None:
            thread = f"e2e-{secrets.token_hex(4)}"
        if thread not in threads:
            threads.append(thread)
        return await call("acquire", thread_id=thread, **fields)

    yield acquire
    for thread in threads:
        await client.post("/v1/sandbox/release", json={"thread_id": thread})
