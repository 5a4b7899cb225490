"""The servers of this version and the sandboxes of the last release, and the other way round.

Functions are deployed one by one, and sandboxes outlive an upgrade: each must get on with the other.
"""

from __future__ import annotations

import pytest
from tests.crash.trees import ROOT, with_worker_of

from oneseek_sandbox.testing.server import LiveServer
from oneseek_sandbox.testing.verbs import VerbsContract
from oneseek_sandbox.testing.verbs.calls import Sandbox, call

KEY = "key-of-mixed-versions"
LIMITS = {"PROVISIONER_PROCESS_LIMIT": "200", "PROVISIONER_MEMORY_LIMIT_MB": "256"}
PRESENT = ROOT / "shared"
NEW_FIELDS = {"stdin_path": "/workspace/kept"}
NEW_CALLS = {
    "stdin_path": ("execute", {"command": "touch done", **NEW_FIELDS}),
    "background": ("execute", {"command": "touch done", "background": True}),
    "terminal": ("execute", {"command": "touch done", "terminal": {"columns": 80, "rows": 24}}),
    "processes": ("processes", {}),
    "attach": ("attach", {"request_id": "a"}),
    "input": ("input", {"request_id": "a", "data": "x", "offset": 0}),
    "signal": ("signal", {"request_id": "a", "signal": "TERM"}),
    "resize": ("input", {"request_id": "a", "offset": 0, "resize": {"columns": 80, "rows": 24}}),
    "foreground": ("signal", {"request_id": "a", "signal": "INT", "to": "foreground"}),
}


@pytest.fixture(scope="module")
def with_old_worker(last_release, new_server, tmp_path_factory):
    tree = with_worker_of(PRESENT, last_release, tmp_path_factory.mktemp("old worker"))
    return new_server(key=KEY, settings={**LIMITS, "PYTHONPATH": str(tree)})


@pytest.fixture(scope="module")
def with_old_server(last_release, new_server, tmp_path_factory):
    tree = with_worker_of(last_release, PRESENT, tmp_path_factory.mktemp("old server"))
    return new_server(key=KEY, settings={**LIMITS, "PYTHONPATH": str(tree)})


class TestWorkerOfTheLastRelease(VerbsContract):
    """What the last release knew goes on in its sandboxes."""

    last_release = True

    @pytest.fixture
    async def client(self, with_old_worker):
        async with with_old_worker.async_client() as client:
            yield client

    @pytest.mark.parametrize("name", NEW_CALLS)
    async def test_what_its_worker_lacks_is_refused_before_anything_is_done(
        self, sandbox: Sandbox, name: str
    ) -> None:
        verb, new = NEW_CALLS[name]
        told = await sandbox.refused(verb, status=409, code="sandbox_too_old", **new)
        assert repr(name) in told
        assert "release" in told
        assert (await sandbox.run("ls"))["stdout"] == ""

    async def test_its_worker_takes_labels_and_no_variables(self, sandbox: Sandbox) -> None:
        for env in ({"TOKEN": "s3cret"}, {}):
            response = await sandbox.client.post(
                "/v1/sandbox/acquire", json={"thread_id": sandbox.thread, "env": env}
            )
            error = response.json()["error"]
            assert (response.status_code, error["code"]) == (409, "sandbox_too_old")
        acquired = await call(
            sandbox.client, "acquire", thread_id=sandbox.thread, labels={"a": sandbox.id}
        )
        assert acquired["sandbox_id"] == sandbox.id
        listed = await sandbox.client.get("/v1/sandbox", params={"label": f"a={sandbox.id}"})
        assert len(listed.json()["sandboxes"]) == 1


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
