"""A server of the last release with the sandboxes of this version: functions are deployed one by one."""

from __future__ import annotations

import pytest
from tests.crash.mixed import KEY, LIMITS, NEW_FIELDS, PRESENT
from tests.crash.trees import with_worker_of

from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs import VerbsContract
from oneseek_sandbox.testing.verbs.calls import Sandbox, call


@pytest.fixture(scope="module")
def with_old_server(last_release, new_server, tmp_path_factory):
    tree = with_worker_of(last_release, PRESENT, tmp_path_factory.mktemp("old server"))
    return new_server(key=KEY, settings={**LIMITS, "PYTHONPATH": str(tree)})


class TestServerOfTheLastRelease(VerbsContract):
    """The last release's server works with the sandboxes of this version."""

    last_release = True

    @pytest.fixture
    async def client(self, with_old_server):
        async with with_old_server.async_client() as client:
            yield client


async def test_a_lease_never_tells_of_what_its_process_lacks(last_release, tmp_path, end_sandboxes):
    """Also when a server of the last release, which knows no features, started it again."""
    with LiveServer(tmp_path, key=KEY) as server:
        async with server.async_client() as client:
            given = {"labels": {"a": "b"}, "env": {"TOKEN": "s3cret"}}
            sandbox = Sandbox(client, await call(client, "acquire", thread_id="t", **given))
            await sandbox.write("/workspace/kept", "kept")
            assert (await sandbox.run("cat", **NEW_FIELDS))["stdout"] == "kept"
            assert (await sandbox.run("echo $TOKEN"))["stdout"] == "s3cret\n"
            server.kill()
            server.environment["PYTHONPATH"] = str(last_release)
            server.start()
            assert (await sandbox.run("cat kept"))["stdout"] == "kept"
            end_sandboxes(server)
            assert (await call(client, "acquire", thread_id="t"))["restarted"] is True
            server.kill()
            del server.environment["PYTHONPATH"]
            server.start()
            new = {"command": "touch done", **NEW_FIELDS}
            await sandbox.refused("execute", status=409, code="sandbox_too_old", **new)
            assert (await sandbox.run("cat kept; ls"))["stdout"] == "keptkept\n"
            assert (await call(client, "acquire", thread_id="t"))["env_lost"] is True
