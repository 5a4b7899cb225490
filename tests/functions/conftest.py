"""The eight functions, each in a process of its own, as Knative runs them."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from oneseek_sandbox.http.verbs import FUNCTIONS as FUNCTIONS_OF_VERBS
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.testing.server import free_port
from oneseek_sandbox.testing.verbs.calls import Sandbox, call

FUNCTIONS = Path(__file__).parents[2] / "functions"
VERBS = sorted(path.parent.name for path in FUNCTIONS.glob("*/main.py"))


class FunctionProcess:
    """One function, served by `uvicorn functions_framework.aio:app --lifespan on`."""

    def __init__(self, verb, home, key):
        self.verb, self.port = verb, free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            name: value for name, value in os.environ.items() if not name.startswith("PROVISIONER_")
        }
        with (home / f"{verb}.log").open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "uvicorn",
                    "functions_framework.aio:app",
                    "--lifespan",
                    "on",
                    "--port",
                    str(self.port),
                    "--log-level",
                    "warning",
                ],
                env={
                    **environment,
                    "FUNCTION_TARGET": verb,
                    "FUNCTION_SOURCE": str(FUNCTIONS / verb / "main.py"),
                    "PROVISIONER_HOME": str(home),
                    "PROVISIONER_API_KEY": key,
                },
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait(self):
        deadline = time.monotonic() + 60
        while True:
            try:
                return httpx.get(self.url + "/healthz", timeout=5, trust_env=False)
            except httpx.TransportError:
                assert self.process.poll() is None, f"{self.verb} ended"
                assert time.monotonic() < deadline, f"{self.verb} did not start"
                time.sleep(0.05)


class ByVerb(httpx.AsyncBaseTransport):
    """Sends a call to the function of its verb, as the route in front of the functions does."""

    def __init__(self, functions):
        self._functions = functions
        self._network = httpx.AsyncHTTPTransport()

    async def handle_async_request(self, request):
        verb = request.url.path.removeprefix("/v1/sandbox").strip("/") or "acquire"
        function = FUNCTIONS_OF_VERBS.get(verb, verb)
        request.url = request.url.copy_with(port=self._functions[function].port)
        return await self._network.handle_async_request(request)

    async def aclose(self):
        await self._network.aclose()


class Functions:
    """All eight, over one state folder."""

    def __init__(self, home):
        self.key = secrets.token_urlsafe()
        self.processes = {verb: FunctionProcess(verb, home, self.key) for verb in VERBS}
        for function in self.processes.values():
            function.wait()

    def client(self, **headers):
        return httpx.AsyncClient(
            base_url="http://127.0.0.1",
            transport=ByVerb(self.processes),
            headers={"authorization": f"Bearer {self.key}", **headers},
            timeout=60,
        )

    def stop(self):
        for function in self.processes.values():
            function.process.terminate()
        for function in self.processes.values():
            function.process.wait(30)


@pytest.fixture(scope="session")
def functions(tmp_path_factory):
    home = tmp_path_factory.mktemp("functions")
    functions = Functions(home)
    yield functions
    functions.stop()
    EmbeddedServer.stop(home)


@pytest.fixture
async def client(functions):
    async with functions.client() as client:
        yield client


@pytest.fixture
async def sandbox(client):
    sandbox = Sandbox(client, await call(client, "acquire", thread_id=secrets.token_hex(6)))
    yield sandbox
    await client.post("/v1/sandbox/release", json={"sandbox_id": sandbox.id})


@pytest.fixture
def guarded(functions):
    """Check what every function owes: health without a key, all else with one only, POST only."""

    async def guarded(verb):
        url = functions.processes[verb].url
        key = {"authorization": f"Bearer {functions.key}"}
        async with httpx.AsyncClient(base_url=url, timeout=60, trust_env=False) as bare:
            health = await bare.get("/healthz")
            assert (health.status_code, health.json()["verb"]) == (200, verb)
            for path in ("/", f"/v1/sandbox/{verb}"):
                refused = await bare.post(path, json={})
                assert (refused.status_code, refused.json()["error"]["code"]) == (
                    401,
                    "unauthenticated",
                )
            for headers, status in (({}, 401), (key, 200)):
                assert (await bare.get("/metrics", headers=headers)).status_code == status
            wrong = await bare.delete("/", headers=key)
            assert (wrong.status_code, wrong.json()["error"]["code"]) == (405, "method_not_allowed")

    return guarded
