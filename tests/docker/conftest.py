"""Runtimes over the engine of DOCKER_HOST, or of the docker command line's context.

The image comes by ONESEEK_E2E_SANDBOX_IMAGE, as not every engine can pull one.
"""

from __future__ import annotations

import gc
import os
import warnings

import pytest

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.runtimes.docker.engine import Engine
from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime
from oneseek_sandbox.settings import Settings

IMAGE = os.environ.get("ONESEEK_E2E_SANDBOX_IMAGE", "python:3.12-slim")


@pytest.fixture(scope="session")
def engine():
    engine = Engine()
    try:
        engine.open()
    except SandboxError as error:
        with warnings.catch_warnings(action="ignore"):
            gc.collect()  # the package leaves the socket open that did not connect
        pytest.skip(f"No container engine to test with: {error.message}")
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def server(new_server, engine):
    """A server with a key, whose sandboxes are containers."""
    return new_server(
        key="key-of-the-contract",
        settings={
            "PROVISIONER_RUNTIME": "docker",
            "PROVISIONER_SANDBOX_IMAGE": IMAGE,
            "PROVISIONER_PROCESS_LIMIT": "200",
            "PROVISIONER_MEMORY_LIMIT_MB": "256",
        },
    )


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
async def runtime(new_runtime, parts_left):
    """A runtime whose sandboxes end with the test, and leave nothing."""
    runtime = await new_runtime()
    yield runtime
    for sandbox in await runtime.list():
        assert await runtime.stop(sandbox.uid, sandbox.name)
    assert parts_left() == []


@pytest.fixture
def parts_left(settings, engine):
    """Return a function that tells what is there of this test's realm."""

    def left():
        realm = f"oneseek-sandbox.realm={TokenKey.from_settings(settings).key_id}"
        containers = [c["Names"][0] for c in engine.containers(realm)]
        volumes = [v["Name"] for v in engine.volumes(realm)]
        return containers + volumes + [n["Name"] for n in engine.networks(realm)]

    return left
