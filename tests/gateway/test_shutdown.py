"""An orderly stop: what is short ends, what is long is cut in time and told so."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

import httpx
import pytest

from oneseek_sandbox.testing.verbs.calls import Sandbox, call


@pytest.fixture
def server(new_server):
    return new_server(
        key="key-of-the-shutdown", settings={"PROVISIONER_SHUTDOWN_GRACE_SECONDS": "2"}
    )


async def until_there(sandbox, path):
    async with asyncio.timeout(60):
        while (await sandbox.run(["test", "-e", path]))["exit_code"]:
            await asyncio.sleep(0.02)


async def test_short_commands_end_and_long_ones_are_told_of_the_stop(server):
    async with server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))

        def start(command, **fields):
            body = {"sandbox_id": sandbox.id, "command": command, **fields}
            return asyncio.create_task(client.post("/v1/sandbox/execute", json=body))

        async def stream():
            async with client.stream(
                "POST",
                "/v1/sandbox/execute",
                json={"sandbox_id": sandbox.id, "command": "echo up; touch s; sleep 60"},
                headers={"accept": "text/event-stream"},
            ) as response:
                return [line async for line in response.aiter_lines()]

        short = start("touch a; sleep 1; echo done")
        long = start("touch b; sleep 60")
        kept = start("touch c; sleep 4; echo kept", request_id="kept")
        streamed = asyncio.create_task(stream())
        for name in "abcs":
            await until_there(sandbox, name)
        began = time.monotonic()
        stopping = asyncio.get_running_loop().run_in_executor(None, server.stop)
        assert (await short).json()["stdout"] == "done\n"
        for cut in (await long, await kept):
            error = cut.json()["error"]
            assert (cut.status_code, error["code"]) == (503, "shutting_down")
            assert error["retryable"] is True
            assert error["may_have_run"] is True
            assert "request_id" in error["message"]
            assert int(cut.headers["retry-after"]) > 0
        lines = await streamed
        assert 'data: {"text": "up\\n"}' in lines
        assert lines[-3] == "event: error"
        assert json.loads(lines[-2].removeprefix("data: "))["error"]["code"] == "shutting_down"
        assert await stopping == 0
        assert time.monotonic() - began < 30
    assert "Traceback" not in server.log.read_text()
    server.start()
    async with server.async_client() as client:
        sandbox = Sandbox(client, await call(client, "acquire", thread_id="t"))
        assert sandbox.acquired["reused"] is True
        again = await sandbox.run("touch c; sleep 4; echo kept", request_id="kept")
        assert again["stdout"] == "kept\n"
        assert (await sandbox.run("pgrep -f 'sleep 60'"))["exit_code"] == 1


async def test_an_idle_server_stops_at_once(server):
    with server.client() as client:
        client.get("/healthz")  # a connection that stays open
        began = time.monotonic()
        assert server.stop() == 0
        assert time.monotonic() - began < 3
    with pytest.raises(httpx.TransportError):
        httpx.get(server.url + "/healthz", trust_env=False)


async def test_a_server_in_which_a_thread_hangs_ends_all_the_same_and_says_where(
    new_server, tmp_path, monkeypatch
):
    monkeypatch.setenv("HANGS_FILE", str(tmp_path / "hangs"))
    server = new_server(
        key="key-of-the-hanging",
        command=[sys.executable, str(Path(__file__).with_name("hanging_server.py"))],
        settings={"PROVISIONER_SHUTDOWN_GRACE_SECONDS": "0"},
    )
    async with server.async_client() as client:
        acquiring = asyncio.create_task(client.post("/v1/sandbox/acquire", json={"thread_id": "t"}))
        async with asyncio.timeout(60):
            while not (tmp_path / "hangs").exists():
                await asyncio.sleep(0.02)
        stopping = asyncio.get_running_loop().run_in_executor(None, server.stop)
        assert (await acquiring).status_code == 503
        assert await stopping == 1  # and not killed by us
    last = json.loads(server.log.read_text().splitlines()[-1])
    assert "hang (" in last["message"]
    assert "hanging_server.py" in last["message"]
