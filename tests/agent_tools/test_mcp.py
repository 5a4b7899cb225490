"""The MCP server over stdio, as the SDK's own client meets it."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess

import pytest
from mcp import Client
from tests.agent_tools.conftest import KEY
from tests.agent_tools.mcp_servers import COMMAND, ERAS, calling, environment, run_mcp, stdio

from oneseek_sandbox.agent_tools import TOOLS, choose_tools
from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.testing.scripted_model import GREEN, play


@pytest.mark.parametrize("mode", ERAS)
async def test_an_agent_fixes_a_program_over_stdio(server, mode):
    async with Client(stdio(server, "--release"), mode=mode) as client:
        said, _ = await play(calling(client))
    assert said == GREEN


@pytest.mark.parametrize("mode", ERAS)
async def test_clients_see_the_tools_with_their_schemas(server, mode):
    async with Client(stdio(server), mode=mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    offered = choose_tools(None, yielding=True)
    assert list(listed) == list(offered) == list(TOOLS)
    for name, tool in offered.items():
        assert listed[name].input_schema == tool.schema()
        assert listed[name].description == tool.description
        assert listed[name].annotations.read_only_hint == (
            name in {"sandbox_ls", "sandbox_read_file"}
        )


async def test_a_server_for_readers_offers_no_more(server):
    async with Client(stdio(server, "--read-only")) as client:
        listed = [tool.name for tool in (await client.list_tools()).tools]
        assert listed == ["sandbox_ls", "sandbox_read_file"]
        result = await client.call_tool("sandbox_execute", {"command": "true"})
        assert result.is_error
        assert result.content[0].text.startswith("Error (unknown_tool)")


@pytest.mark.parametrize("mode", ERAS)
async def test_answers_come_as_data_too(server, mode):
    async with Client(stdio(server, "--release"), mode=mode) as client:
        ran = await client.call_tool("sandbox_execute", {"command": "echo out; exit 3"})
        assert ran.structured_content["exit_code"] == 3
        assert ran.structured_content["stdout"] == "out\n"
        missing = await client.call_tool("sandbox_read_file", {"path": "/workspace/none"})
        assert (missing.is_error, missing.structured_content) == (True, None)
        released = await client.call_tool("sandbox_release", {})
        assert released.structured_content["released"]
        # The client checks each against the schema that the list gives.
        assert all(tool.output_schema for tool in (await client.list_tools()).tools)


async def test_an_image_is_shown_to_the_model(server, sandboxes, thread):
    data = b"GIF89a" + bytes(range(256)) * 100
    await ThreadSandbox(sandboxes, thread).upload("/workspace/small.gif", data)
    async with Client(stdio(server, "--thread", thread)) as client:
        result = await client.call_tool("sandbox_read_file", {"path": "/workspace/small.gif"})
    text, image = result.content
    assert text.text == f"[/workspace/small.gif is an image: image/gif, {len(data)} bytes.]"
    assert (image.mime_type, base64.b64decode(image.data)) == ("image/gif", data)


async def test_a_wrong_call_is_told_to_the_model(server):
    async with Client(stdio(server)) as client:
        result = await client.call_tool("sandbox_execute", {"cmd": "ls"})
        assert result.is_error
        assert "sandbox_execute takes: command" in result.content[0].text
        result = await client.call_tool("rm", {})
        assert "There is no tool 'rm'" in result.content[0].text


async def test_a_named_thread_is_found_again_and_left_alone_at_the_end(server, sandboxes, thread):
    said = []
    for _ in range(2):
        async with Client(stdio(server, "--thread", thread)) as client:
            look = {"command": "cat kept || echo nothing"}
            said.append(await calling(client)("sandbox_execute", look))
            await calling(client)(
                "sandbox_write_file", {"path": "/workspace/kept", "content": "kept"}
            )
    assert said[0].startswith("exit code: 0\nnothing")
    assert said[1] == "exit code: 0\nkept"
    assert (await sandboxes.acquire(thread)).reused


async def test_with_release_the_sandbox_ends_with_the_server(server, sandboxes):
    async with Client(stdio(server, "--release", "--thread", "for now")) as client:
        await calling(client)("sandbox_ls", {})
    assert not [s for s in (await sandboxes.list_sandboxes()).sandboxes if s.thread_id == "for now"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_order_while_it_waits_for_input(server, sandboxes, number):
    name = f"until {number.name}"
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        "--release",
        "--thread",
        name,
        env=os.environ | environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    call = {"name": "sandbox_ls", "arguments": {}}
    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client["clientInfo"] = {"name": "test", "version": "0"}
    for request in (
        {"id": 1, "method": "initialize", "params": client},
        {"method": "notifications/initialized"},
        {"id": 2, "method": "tools/call", "params": call},
    ):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **request}).encode() + b"\n")
    assert json.loads(await process.stdout.readline())["id"] == 1
    assert json.loads(await process.stdout.readline())["result"]["content"][0]["text"] == "(empty)"
    process.send_signal(number)
    async with asyncio.timeout(20):
        assert await process.wait() == 0
    assert name not in [s.thread_id for s in (await sandboxes.list_sandboxes()).sandboxes]


def test_wrong_settings_of_the_backend_are_told():
    ran = run_mcp(SANDBOX_ENABLED="false")
    assert ran.returncode == 1
    assert "sandbox_enabled is false" in ran.stderr
    assert ran.stdout == ""


async def test_a_cancelled_call_ends_its_command(server, thread):
    async with (
        RemoteSandboxes(server.url, KEY) as sandboxes,
        Client(stdio(server, "--thread", thread)) as client,
    ):
        await calling(client)("sandbox_ls", {})

        async def sees(command, wanted):
            async with asyncio.timeout(20):
                while (await sandboxes.execute(command, thread_id=thread)).exit_code != wanted:
                    await asyncio.sleep(0.05)

        running = asyncio.create_task(
            client.call_tool("sandbox_execute", {"command": "touch begun; exec sleep 54.321"})
        )
        await sees("test -e begun", 0)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await sees("pgrep -f 54.32[1]", 1)
