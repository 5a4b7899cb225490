"""Tools of models over a sandbox, and over a server, of the last release."""

from __future__ import annotations

import asyncio

import pytest
from tests.crash.mixed import KEY, LIMITS, PRESENT
from tests.crash.trees import with_worker_of

from oneseek_sandbox.agent_tools import SandboxTools
from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes


@pytest.fixture(params=["worker", "server"])
def server(request, last_release, new_server, tmp_path):
    """A server of which one of the two is old."""
    if request.param == "worker":
        tree = with_worker_of(PRESENT, last_release, tmp_path)
    else:
        tree = with_worker_of(last_release, PRESENT, tmp_path)
    return new_server(key=KEY, settings={**LIMITS, "PYTHONPATH": str(tree)})


async def test_long_commands_are_waited_for_all_the_same(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        sandbox = ThreadSandbox(sandboxes, "of a model")
        await sandbox.acquire()
        tools = SandboxTools(sandbox, yield_seconds=0.3)
        command = {
            "command": "echo one; echo >> begun; while ! test -e go; do sleep 0.02; done; echo two"
        }
        answers = [(await tools.run("sandbox_execute", command)).answer for _ in range(2)]
        # What it printed cannot be asked for there, so it comes with the end.
        assert [answer.output_is_known for answer in answers] == [False, False]
        stopped, waited = ({"request_id": answer.request_id} for answer in answers)
        async with asyncio.timeout(60):
            # Not before it runs, or there would be no output.
            while (await sandbox.execute("wc -l < begun")).stdout.strip() != "2":
                await asyncio.sleep(0.05)
        result = await tools.run("sandbox_wait", {**stopped, "stop": True})
        assert "(killed: cancelled)\none" in result.text
        await sandbox.write_file("/workspace/go", "")
        result = await tools.run("sandbox_wait", waited)
        async with asyncio.timeout(60):
            while result.answer.still_running:
                result = await tools.run("sandbox_wait", waited)
        assert result.text == "exit code: 0\none\ntwo"
        assert await sandbox.release()
