"""The servers of this version with the sandboxes of the last release, which outlive an upgrade."""

from __future__ import annotations

import pytest
from tests.crash.mixed import KEY, LIMITS, NEW_FIELDS, PRESENT
from tests.crash.trees import with_worker_of

from oneseek_sandbox.testing.verbs import VerbsContract
from oneseek_sandbox.testing.verbs.calls import Sandbox, call

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
