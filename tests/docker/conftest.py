"""Runtimes over the engine of DOCKER_HOST, or of the docker command line's context.

The image comes by ONESEEK_E2E_SANDBOX_IMAGE, as not every engine can pull one.
"""

from __future__ import annotations

import gc
import os
import time
import warnings

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.runtimes.docker.container_spec import listener_name
from oneseek_sandbox.runtimes.docker.engine import Engine
from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime
from oneseek_sandbox.settings import Settings

IMAGE = os.environ.get("ONESEEK_E2E_SANDBOX_IMAGE", "python:3.12-slim")


def drop_unconnected_sockets():
    """Collect what the package forgets to close when an engine does not answer, without a warning."""
    with warnings.catch_warnings(action="ignore"):
        gc.collect()


@pytest.fixture(scope="session")
def engine():
    engine = Engine()
    missing = ""
    try:
        engine.open()
    except SandboxError as error:
        missing = error.message
    if missing:
        drop_unconnected_sockets()
        pytest.skip(f"No container engine to test with: {missing}")
    yield engine
    engine.close()


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_left(engine):
    """See that all tests together leave nothing; autouse, so that it is looked at last."""
    began_ms = 1000 * time.time()
    yield
    parts = [*engine.containers(), *engine.volumes(), *engine.networks()]
    labels = [part.get("Labels") or {} for part in parts]
    ours = [have for have in labels if "oneseek-sandbox.name" in have]
    assert [have for have in ours if int(have["oneseek-sandbox.created-ms"]) >= began_ms] == []


@pytest.fixture(scope="module")
def server_settings():
    """Further settings of the module's server."""
    return {}


@pytest.fixture(scope="module")
def server(new_server, engine, server_settings):
    """A server with a key, whose sandboxes are containers."""
    return new_server(
        key="key-of-the-contract",
        settings={
            "PROVISIONER_RUNTIME": "docker",
            "PROVISIONER_SANDBOX_IMAGE": IMAGE,
            "PROVISIONER_PROCESS_LIMIT": "200",
            "PROVISIONER_MEMORY_LIMIT_MB": "256",
            "PROVISIONER_TMP_LIMIT_MB": "16",
            **server_settings,
        },
    )


@pytest.fixture
def new_sandbox(server):
    """Acquire sandboxes by thread; they are released with the test."""
    made = {}
    with server.client() as client:

        def acquire(thread):
            if thread not in made:
                made[thread] = SandboxOverHttp(client, thread)
                made[thread].acquire()
            return made[thread]

        yield acquire
        for sandbox in made.values():
            sandbox.release()


@pytest.fixture
def listener_of(engine):
    """Return a function that tells a sandbox's listener: its container's name, address and gateway."""

    def listener(sandbox):
        listed = engine.containers("oneseek-sandbox.role=sandbox")
        record = "oneseek-sandbox.record"
        (name,) = [
            c["Labels"]["oneseek-sandbox.name"]
            for c in listed
            if sandbox.sandbox_id in c["Labels"][record]
        ]
        container = engine.container(listener_name(name))
        (network,) = container["NetworkSettings"]["Networks"].values()
        return {**network, "container": listener_name(name), "sandbox": name}

    return listener


class SandboxOverHttp:
    """A thread's sandbox, by the verbs."""

    def __init__(self, client, thread):
        self.client = client
        self.thread = thread
        self.sandbox_id = ""

    def acquire(self):
        answer = self.call("acquire", thread_id=self.thread)
        assert answer.status_code == 200, answer.text
        self.sandbox_id = answer.json()["sandbox_id"]
        return answer.json()

    def call(self, verb, **fields):
        return self.client.post(f"/v1/sandbox/{verb}", json=fields)

    def run(self, command):
        answer = self.call("execute", sandbox_id=self.sandbox_id, command=command)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def release(self):
        self.call("release", thread_id=self.thread)


@pytest.fixture
def settings(tmp_path, engine):
    return Settings(
        runtime="docker",
        home=tmp_path / "home",
        sandbox_image=IMAGE,
        memory_limit_mb=256,
        process_limit=100,
        tmp_limit_mb=16,
        startup_timeout_seconds=30,
    )


@pytest.fixture
async def new_runtime(settings):
    """Make runtimes that share their sandboxes, with other settings where given."""
    made = []

    async def make(**changes):
        runtime = DockerRuntime(settings.model_copy(update=changes), self_test=False)
        await runtime.open()
        made.append(runtime)
        return runtime

    yield make
    for runtime in made:
        await runtime.close()


@pytest.fixture
async def runtime(new_runtime, resources_left):
    """A runtime whose sandboxes end with the test, and leave nothing."""
    runtime = await new_runtime()
    yield runtime
    for sandbox in await runtime.list():
        assert await runtime.stop(sandbox.uid, sandbox.name)
    assert resources_left() == []


@pytest.fixture
def resources_left(settings, engine):
    """Return a function that tells what is there of this test's key."""

    def left():
        label = f"oneseek-sandbox.realm={TokenKey.from_settings(settings).key_id}"
        containers = [c["Names"][0] for c in engine.containers(label)]
        volumes = [v["Name"] for v in engine.volumes(label)]
        return containers + volumes + [n["Name"] for n in engine.networks(label)]

    return left
