"""Long commands over MCP: yielding, going on, progress and cancellation, as the SDK's client has them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess

import pytest
from mcp import Client
from tests.agent_tools.conftest import KEY
from tests.agent_tools.mcp_servers import (
    COMMAND,
    ERAS,
    calling,
    connected,
    environment,
    http_server,
    stdio,
)

from oneseek_sandbox.agent_tools import TOOLS, choose_tools
from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.runtimes.local.liveness import first_process

SHORT = ("--yield-seconds", "0.5")
UNTIL_GO = "while ! test -e go; do sleep 0.02; done"
GO = {"path": "/workspace/go", "content": ""}


async def begun(client, command):
    """Start a command that does not end by itself; returns what names it."""
    given = {"command": command, "timeout_seconds": 60}
    result = await client.call_tool("sandbox_execute", given)
    assert result.structured_content["still_running"], result.content[0].text
    return {"request_id": result.structured_content["request_id"]}


async def until_ended(client, named):
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool("sandbox_wait", named)
            if result.is_error or not result.structured_content["still_running"]:
                return result


@pytest.mark.parametrize("mode", ERAS)
async def test_a_long_command_goes_on_over_stdio(server, mode):
    async with Client(stdio(server, "--release", *SHORT), mode=mode) as client:
        # The client checks each answer against the schema that the list gives.
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        assert schemas["sandbox_execute"]["type"] == "object"
        named = await begun(client, f"echo one; {UNTIL_GO}; echo two; exit 3")
        await client.call_tool("sandbox_write_file", GO)
        last = await until_ended(client, named)
        assert last.content[0].text.startswith("exit code: 3\ntwo\n[")
        assert last.structured_content["stdout"] == "two\n"
        assert last.structured_content["exit_code"] == 3


async def test_a_long_command_goes_on_over_http_in_its_session(server, tmp_path):
    with http_server(server, tmp_path, "--release", *SHORT) as started:
        async with connected(started) as one, connected(started) as other:
            named = await begun(one, UNTIL_GO)
            elsewhere = await other.call_tool("sandbox_wait", named)
            assert elsewhere.content[0].text.startswith("Error (process_not_found)")
            await one.call_tool("sandbox_write_file", GO)
            assert (await until_ended(one, named)).structured_content["exit_code"] == 0


async def test_two_wait_at_once_and_both_are_told_the_end(server):
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, f"{UNTIL_GO}; echo two")
        waiting = [asyncio.create_task(until_ended(client, named)) for _ in range(2)]
        await client.call_tool("sandbox_write_file", GO)
        for result in await asyncio.gather(*waiting):
            assert result.structured_content["exit_code"] == 0
            assert "two" in result.content[0].text


async def test_a_command_is_found_by_the_next_server_of_its_thread(server, thread):
    async with Client(stdio(server, "--thread", thread, *SHORT)) as client:
        named = await begun(client, f"echo one; {UNTIL_GO}; echo two")
    async with Client(stdio(server, "--thread", thread, *SHORT)) as client:
        looked = await client.call_tool("sandbox_wait", {**named, "wait_seconds": 0})
        assert looked.structured_content["still_running"]
        assert looked.structured_content["stdout"] == "one\n"
        stopped = await client.call_tool("sandbox_wait", {**named, "stop": True})
        assert stopped.structured_content["killed_by"] == "cancelled"


async def test_a_command_whose_worker_was_killed_is_told_as_lost(new_server):
    server = new_server(key=KEY)
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, "echo kept > file; exec sleep 50")
        (status,) = server.home.glob("sandboxes/*/status")
        os.kill(first_process(status), signal.SIGKILL)
        told = (await until_ended(client, named)).content[0].text
        assert told.startswith("Error (sandbox_unavailable)")
        # Which has the sandbox started again, with its files.
        for _ in range(2):
            told = (await client.call_tool("sandbox_wait", named)).content[0].text
            assert told.startswith("Error (process_lost)")
        assert await calling(client)("sandbox_ls", {}) == "/workspace/file  5"


HOSTILE = {
    "control characters": r"printf '\033]0;title\007\033[31mred\033[0m\000\r\b\342\200\256x'",
    "no newline": "printf 'no newline'",
    "no UTF-8": r"printf '\377\376\303'",
    "a huge line": "head -c 3000000 /dev/zero | tr '\\0' x",
}


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_output_is_told_bounded_and_as_text(server, hostile):
    async with Client(stdio(server, "--release", "--yield-seconds", "2.5")) as client:
        await client.list_tools()
        messages = []

        async def note(progress, total, message):
            messages.append(message)

        given = {"command": f"{HOSTILE[hostile]}; {UNTIL_GO}; {HOSTILE[hostile]}"}
        given["timeout_seconds"] = 60
        first = await client.call_tool("sandbox_execute", given, progress_callback=note)
        named = {"request_id": first.structured_content["request_id"]}
        await client.call_tool("sandbox_write_file", GO)
        last = await until_ended(client, named)
        for result in (first, last):
            assert len(result.content[0].text) < 102_000
            assert result.structured_content["stdout"]
        assert last.structured_content["exit_code"] == 0
        for message in filter(None, messages):
            assert len(message) <= 200
            assert message.isprintable()


async def test_progress_rises_and_tells_the_last_line(server):
    async with Client(stdio(server, "--release")) as client:
        heard = []

        async def note(progress, total, message):
            heard.append((progress, message))
            if message == "two":
                await client.call_tool("sandbox_write_file", GO)

        given = {"command": f"echo one; printf '\\033[1mtwo\\033[0m'; {UNTIL_GO}"}
        given["timeout_seconds"] = 60
        result = await client.call_tool("sandbox_execute", given, progress_callback=note)
        assert result.structured_content["exit_code"] == 0
    steps = [progress for progress, _ in heard]
    assert steps == sorted(set(steps))
    # At most one a second.
    assert all(after - before > 0.5 for before, after in itertools.pairwise(steps))
    assert heard[-1][1] == "two"


@pytest.mark.parametrize("token", [None, "mine", 0])
async def test_progress_is_sent_to_whoever_asks_and_never_after_the_answer(server, token):
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "--release",
        "--yield-seconds",
        "2.5",
        env=os.environ | environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client["clientInfo"] = {"name": "test", "version": "0"}
    call = {"name": "sandbox_execute", "arguments": {"command": "echo hi; exec sleep 20"}}
    if token is not None:
        call["_meta"] = {"progressToken": token}
    for request in (
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}).encode() + b"\n")
    lines = []
    async with asyncio.timeout(60):
        while not lines or lines[-1].get("id") != 2:
            lines.append(json.loads(await process.stdout.readline()))
        # What would come afterwards comes before the answer to this one.
        look = {"name": "sandbox_wait", "arguments": {}}
        look["arguments"]["request_id"] = lines[-1]["result"]["structuredContent"]["request_id"]
        request = {"jsonrpc": "2.0", "id": 3, "method": "tools/call", "params": look}
        process.stdin.write(json.dumps(request).encode() + b"\n")
        assert json.loads(await process.stdout.readline())["id"] == 3
        process.stdin.close()
        await process.wait()
    told = [line["params"] for line in lines if line.get("method") == "notifications/progress"]
    assert all(params["progressToken"] == token for params in told)
    assert [params["message"] for params in told][:1] == ([] if token is None else ["hi"])


async def test_a_cancelled_wait_leaves_its_command_alone(server):
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, f"{UNTIL_GO}; echo two")
        waiting = asyncio.create_task(client.call_tool("sandbox_wait", named))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await client.call_tool("sandbox_write_file", GO)
        assert (await until_ended(client, named)).structured_content["stdout"] == "two\n"


async def test_commands_of_calls_without_an_answer_end_with_the_server(server, sandboxes, thread):
    async with Client(stdio(server, "--thread", thread, "--yield-seconds", "50")) as client:
        given = {"command": "exec sleep 54.421", "timeout_seconds": 60}
        running = asyncio.create_task(client.call_tool("sandbox_execute", given))
        sandbox = ThreadSandbox(sandboxes, thread)
        async with asyncio.timeout(60):
            while (await sandbox.execute("pgrep -f 54.42[1]")).exit_code:
                await asyncio.sleep(0.05)
    await asyncio.gather(running, return_exceptions=True)
    async with asyncio.timeout(60):
        while not (await sandbox.execute("pgrep -f 54.42[1]")).exit_code:
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("options", "offered"),
    [
        ((), choose_tools(None, yielding=True)),
        (("--yield-seconds", "0"), choose_tools(None)),
        (("--tool", "sandbox_execute"), choose_tools(["sandbox_execute"])),
        (
            ("--tool", "sandbox_execute", "--tool", "sandbox_wait"),
            choose_tools(["sandbox_execute", "sandbox_wait"], yielding=True),
        ),
    ],
)
async def test_waiting_is_offered_where_commands_yield(server, options, offered):
    async with Client(stdio(server, *options)) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(listed) == list(offered)
    for name, tool in offered.items():
        assert listed[name].description == tool.description
        assert listed[name].output_schema == tool.output_schema()
    assert ("sandbox_wait" in listed["sandbox_execute"].description) == ("sandbox_wait" in listed)


async def test_without_the_tool_to_go_on_commands_do_not_yield(server):
    options = ("--release", *SHORT, "--tool", "sandbox_execute")
    async with Client(stdio(server, *options)) as client:
        ran = await calling(client)("sandbox_execute", {"command": "sleep 0.8; echo done"})
    assert ran == "exit code: 0\ndone"
    assert len(TOOLS) == 7
