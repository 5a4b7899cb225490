"""What a container engine can do to sandboxes, and what is said of it. Nothing is left behind."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import platform
import secrets
import tarfile

import pytest

from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError, SandboxStartError
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.runtimes.docker.runtime import DockerRuntime
from oneseek_sandbox.runtimes.runtime import Labels

pytestmark = pytest.mark.docker

LABELS = Labels(Thread("default", "failures"), 1000, idle_ms=900_000, sandbox_id="0" * 32)


@pytest.fixture
def image_without_python(engine):
    """An image that holds an empty folder and nothing else."""
    name = f"localhost/oneseek-test-empty:{secrets.token_hex(4)}"
    folder = tarfile.TarInfo("empty")
    folder.type = tarfile.DIRTYPE
    layer = _archive(folder, {})
    config = {
        "architecture": {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), "amd64"),
        "os": "linux",
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
    }
    manifest = [{"Config": "config.json", "RepoTags": [name], "Layers": ["layer.tar"]}]
    files = {
        "config.json": json.dumps(config).encode(),
        "layer.tar": layer,
        "manifest.json": json.dumps(manifest).encode(),
    }
    engine._api.load_image(_archive(None, files))
    yield name
    engine._api.remove_image(name, force=True)


def _archive(folder, files):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        if folder is not None:
            archive.addfile(folder)
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return content.getvalue()


async def test_an_image_that_cannot_be_had_is_named(new_runtime, resources_left):
    runtime = await new_runtime(sandbox_image="localhost:9/no/such-image:1")
    with pytest.raises(SandboxStartError, match=r"no/such-image:1.*PROVISIONER_SANDBOX_IMAGE"):
        await runtime.create(LABELS)
    assert resources_left() == []


async def test_an_image_without_python_is_named(new_runtime, resources_left, image_without_python):
    runtime = await new_runtime(sandbox_image=image_without_python)
    with pytest.raises(SandboxStartError, match="no python3 on its PATH"):
        await runtime.create(LABELS)
    assert resources_left() == []


async def test_a_server_does_not_start_on_an_image_it_cannot_use(settings, image_without_python):
    runtime = DockerRuntime(settings.model_copy(update={"sandbox_image": image_without_python}))
    with pytest.raises(ConfigurationError, match="no python3 on its PATH"):
        await runtime.open()
    await runtime.close()


async def test_the_self_test_passes_and_leaves_nothing(settings, resources_left):
    runtime = DockerRuntime(settings)
    await runtime.open()
    await runtime.close()
    assert resources_left() == []


async def test_an_engine_that_breaks_off_is_unavailable_and_not_a_loss(
    new_runtime, monkeypatch, tmp_path
):
    runtime = await new_runtime()
    runtime._engine.close()
    async with await asyncio.start_unix_server(_hang_up, tmp_path / "docker.sock"):
        monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/docker.sock")
        with pytest.raises(RuntimeUnavailableError, match="is not available"):
            await runtime.inspect("f" * 64, "a-sandbox")


async def _hang_up(reader, writer):
    writer.close()


async def test_an_image_that_was_removed_is_made_again(runtime, new_runtime, engine):
    own = await new_runtime(workspace_dir=f"/{secrets.token_hex(4)}")
    name = own._image.name()
    engine.remove_image(name)
    assert engine.image(name) is None
    sandbox = await own.create(LABELS)
    assert await own.inspect(sandbox.uid, sandbox.name) == "running"
    assert await own.stop(sandbox.uid, sandbox.name)
    engine.remove_image(name)


async def test_what_a_dead_server_left_half_made_or_half_ended_is_removed(
    runtime, engine, resources_left
):
    ended = await runtime.create(LABELS)
    engine.remove_container(ended.uid)
    await runtime.maintain()
    assert len(resources_left()) == 3, "what is young may be in the making"
    later = DockerRuntime(runtime._settings, clock=_InAnHour(), self_test=False)
    await later.maintain()
    await later.close()
    assert resources_left() == []


async def test_what_is_left_of_a_removed_container_goes_when_it_is_seen(
    runtime, engine, resources_left
):
    sandbox = await runtime.create(LABELS)
    engine.remove_container(sandbox.uid)
    assert await runtime.inspect(sandbox.uid, sandbox.name) == "gone"
    assert resources_left() == []


async def test_images_of_other_versions_are_removed(runtime, engine):
    runtime._image.name()
    container = engine.create_container(
        f"oneseek-test-{secrets.token_hex(4)}", {"Image": runtime._settings.sandbox_image}
    )
    old = f"oneseek-sandbox-layer:{secrets.token_hex(10)}"
    engine.commit(container, old)
    engine.remove_container(container)
    await runtime.maintain()
    assert engine.image(old) is None
    assert engine.image(runtime._image.name()) is not None


async def test_the_limits_are_the_engines(runtime, engine, settings):
    limited = DockerRuntime(
        settings.model_copy(update={"cpu_limit": 0.5, "process_limit": 64}), self_test=False
    )
    sandbox = await limited.create(LABELS)
    host = engine.container(sandbox.uid)["HostConfig"]
    assert host["Memory"] == host["MemorySwap"] == 256 * 1024**2
    assert host["PidsLimit"] == 64
    assert host["NanoCpus"] == 500_000_000
    await limited.close()


class _InAnHour:
    def now_ms(self):
        return SystemClock().now_ms() + 3_600_000
