"""A live server whose verbs reach every path of its local sandboxes."""

from __future__ import annotations

import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox
from oneseek_sandbox.testing.verbs.paths import PathsContract


@pytest.fixture(scope="module")
def server(new_server):
    return new_server(settings={"PROVISIONER_FILE_SCOPE": "sandbox"})


@pytest.fixture
async def client(server):
    async with server.async_client() as client:
        yield client


class TestLocalServer(PathsContract):
    async def test_what_the_worker_lives_on_is_forbidden(self, sandbox: Sandbox) -> None:
        for path in ("/run/worker", "/run/memory.events"):
            if (await sandbox.run(f"test -e {path}"))["exit_code"] == 0:
                await sandbox.refused("read_file", status=403, code="permission_denied", path=path)
