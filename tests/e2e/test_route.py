"""The ways in: one base URL, the forwarded port, and nothing beside them."""

from __future__ import annotations

import asyncio
import os
import time

import httpx
import pytest
from tests.e2e import cluster, functions, routes


async def test_the_forwarded_port_leads_to_the_route(key):
    with routes.forwarded("svc/sandbox-provisioner", 8002) as port:
        url = f"http://127.0.0.1:{port}"
        headers = {"authorization": f"Bearer {key}"}
        async with httpx.AsyncClient(base_url=url, headers=headers, timeout=30) as client:
            await _answers(client)
            assert (await client.get("/healthz")).json()["status"] == "ok"
            assert (await client.get("/v1/sandbox")).status_code == 200


async def _answers(client):
    deadline = time.monotonic() + 30
    while True:
        try:
            return await client.get("/healthz")
        except httpx.TransportError:
            assert time.monotonic() < deadline, "the forwarded port does not answer"
            await asyncio.sleep(0.2)


async def test_a_path_that_is_no_verb_names_the_verbs(client):
    refused = await client.post("/v1/sandbox/aquire", json={})
    error = refused.json()["error"]
    assert (refused.status_code, error["code"]) == (404, "unknown_verb")
    assert all(verb in error["message"] for verb in cluster.VERBS)


@pytest.mark.skipif("KNATIVE_INGRESS" not in os.environ, reason="needs the public ingress itself")
@pytest.mark.parametrize("verb", cluster.VERBS)
async def test_a_function_is_not_public_beside_the_route(verb):
    url = cluster.read("ksvc", functions.service(verb))["status"]["url"]
    assert url.endswith(".svc.cluster.local")
    async with httpx.AsyncClient(base_url=os.environ["KNATIVE_INGRESS"]) as client:
        response = await client.post("/", headers={"host": url.removeprefix("http://")}, json={})
    assert response.status_code == 404
