"""A deployment on the cluster of KUBECONFIG, reached by its public route.

The route is ONESEEK_E2E_URL (with ONESEEK_E2E_HOST where it wants another Host header), or the
Knative Service's host at KNATIVE_INGRESS, or else a `kubectl port-forward`, as on a laptop.
"""

from __future__ import annotations

import asyncio
import secrets
import time

import httpx
import pytest
from tests.e2e import cluster, evidence, routes


def pytest_collection_modifyitems(items):
    for item in items:
        if "/e2e/" in item.path.as_posix():
            item.add_marker(pytest.mark.e2e)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        report.sections.append(("the cluster just after", evidence.collect()))
    return report


@pytest.fixture(scope="session")
def key():
    return cluster.secret("oneseek-sandbox-keys", "backend-key")


@pytest.fixture(scope="session")
def route():
    with routes.public_route() as route:
        yield route


@pytest.fixture
async def new_client(route, key):
    """Make clients of the route, with another key where given."""
    clients = []

    def make(key=key):
        headers = {"authorization": f"Bearer {key}"} if key else {}
        client = httpx.AsyncClient(
            base_url=route.url, headers={**route.headers, **headers}, timeout=200
        )
        clients.append(client)
        return client

    yield make
    for client in clients:
        await client.aclose()


@pytest.fixture
async def client(new_client):
    """Return a client of a route that answers."""
    client = new_client()
    deadline = time.monotonic() + 60
    while not await _is_well(client):
        assert time.monotonic() < deadline, "the route does not answer"
        await asyncio.sleep(0.2)
    return client


async def _is_well(client):
    try:
        return (await client.get("/healthz")).status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture
async def call(client):
    """Call a verb that must succeed."""

    async def call(verb, **fields):
        response = await client.post(f"/v1/sandbox/{verb}", json=fields)
        assert response.status_code == 200, f"{verb}: {response.status_code} {response.text}"
        return response.json()

    return call


@pytest.fixture
async def call_again(client):
    """Call a verb until it succeeds; what may fail meanwhile is what a caller is told to repeat."""

    async def call_again(verb, *, seconds=90, **fields):
        deadline = time.monotonic() + seconds
        while True:
            try:
                response = await client.post(f"/v1/sandbox/{verb}", json=fields)
            except httpx.TransportError as error:
                seen = repr(error)
            else:
                if response.status_code == 200:
                    return response.json()
                seen = f"{response.status_code} {response.text}"
                assert response.status_code in (502, 503, 504), seen
            assert time.monotonic() < deadline, f"{verb} not within {seconds} s: {seen}"
            await asyncio.sleep(0.3)

    return call_again


@pytest.fixture
async def new_thread(client):
    """Name new threads; whatever sandboxes they have are released at the end."""
    threads = []

    def new_thread():
        threads.append(f"e2e-{secrets.token_hex(4)}")
        return threads[-1]

    yield new_thread
    for thread in threads:
        await client.post("/v1/sandbox/release", json={"thread_id": thread})


@pytest.fixture
async def acquire(call, new_thread):
    """Acquire a sandbox, for a new thread where none is given."""

    async def acquire(thread=None, **fields):
        return await call("acquire", thread_id=thread or new_thread(), **fields)

    return acquire
