"""The MCP server, as the SDK's own client meets it: over stdio, and over streamable HTTP."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager

import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from tests.agent_tools.conftest import KEY

from oneseek_sandbox.agent_tools import TOOLS
from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.testing.scripted_model import GREEN, play
from oneseek_sandbox.testing.server import free_port

MCP_KEY = "key-of-the-mcp-server"
COMMAND = [sys.executable, "-m", "oneseek_sandbox.cli", "mcp"]
ERAS = ["legacy", "2026-07-28"]


def environment(server, **more):
    return {
        "SANDBOX_MODE": "provisioner",
        "SANDBOX_PROVISIONER_URL": server.url,
        "SANDBOX_PROVISIONER_API_KEY": KEY,
        **more,
    }


def stdio(server, *options):
    return StdioServerParameters(
        command=COMMAND[0],
        args=[*COMMAND[1:], *options],
        env=environment(server),
    )


class HttpServer:
    """`oneseek-sandbox mcp --transport http` as a process."""

    def __init__(self, server, folder, *options, key=MCP_KEY):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}/mcp"
        self.log = folder / f"mcp-{self.port}.log"
        arguments = ["--transport", "http", "--port", str(self.port), *options]
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                [*COMMAND, *arguments],
                env=os.environ | environment(server, ONESEEK_SANDBOX_MCP_KEY=key),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )

    def wait_until_ready(self):
        deadline = time.monotonic() + 30
        while self.url not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline
            time.sleep(0.02)

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)


@contextmanager
def http_server(server, folder, *options, **settings):
    started = HttpServer(server, folder, *options, **settings)
    try:
        started.wait_until_ready()
        yield started
    finally:
        if started.process.poll() is None:
            started.stop()


@pytest.fixture(scope="module")
def mcp_server(server, tmp_path_factory):
    with http_server(server, tmp_path_factory.mktemp("mcp"), "--release") as started:
        yield started


@asynccontextmanager
async def connected(mcp_server, mode="auto", **headers):
    given = {"authorization": f"Bearer {MCP_KEY}", **headers}
    async with (
        httpx2.AsyncClient(headers=given, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(mcp_server.url, http_client=http), mode=mode) as client,
    ):
        yield client


def calling(client):
    async def call(name, arguments):
        result = await client.call_tool(name, arguments)
        (content,) = result.content
        assert result.is_error == content.text.startswith("Error (")
        return content.text

    return call


@pytest.mark.parametrize("mode", ERAS)
async def test_an_agent_fixes_a_program_over_stdio(server, mode):
    async with Client(stdio(server, "--release"), mode=mode) as client:
        said, _ = await play(calling(client))
    assert said == GREEN


async def test_an_agent_fixes_a_program_over_http(mcp_server):
    async with connected(mcp_server) as client:
        said, _ = await play(calling(client))
    assert said == GREEN


@pytest.mark.parametrize("mode", ERAS)
async def test_clients_see_the_tools_with_their_schemas(server, mode):
    async with Client(stdio(server), mode=mode) as client:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(listed) == list(TOOLS)
    for name, tool in TOOLS.items():
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


async def test_a_server_over_http_offers_what_it_was_told(server, tmp_path):
    with http_server(server, tmp_path, "--tool", "sandbox_execute") as started:
        async with connected(started) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
    assert listed == ["sandbox_execute"]


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


@pytest.mark.parametrize("mode", ["legacy", "auto"])
async def test_each_session_has_its_own_sandbox(mcp_server, sandboxes, mode):
    async with connected(mcp_server, mode) as one, connected(mcp_server, mode) as other:
        await calling(one)("sandbox_write_file", {"path": "/workspace/mine", "content": "x"})
        assert await calling(other)("sandbox_ls", {}) == "(empty)"
        assert await calling(one)("sandbox_ls", {}) == "/workspace/mine  1"
    names = [s.thread_id for s in (await sandboxes.list_sandboxes()).sandboxes]
    assert len([name for name in names if name.startswith("mcp-")]) >= 2


@pytest.mark.parametrize("mode", [*ERAS, "auto"])
async def test_a_client_may_name_its_thread_by_a_header(mcp_server, sandboxes, thread, mode):
    async with connected(mcp_server, mode, **{"x-sandbox-thread": thread}) as client:
        assert await calling(client)("sandbox_ls", {}) == "(empty)"
    assert (await sandboxes.acquire(thread)).reused


async def test_a_client_without_session_and_thread_is_told_and_gets_no_sandbox(mcp_server):
    # Its session is made up: nobody may come into a session by naming one.
    made_up = {"mcp-session-id": "0" * 32}
    async with connected(mcp_server, ERAS[1], **made_up) as client:
        result = await client.call_tool("sandbox_ls", {})
    assert result.is_error
    assert "x-sandbox-thread" in result.content[0].text


async def test_a_thread_of_the_server_is_stronger_than_the_header(
    server, tmp_path, sandboxes, thread
):
    with http_server(server, tmp_path, "--thread", thread) as started:
        async with connected(started, **{"x-sandbox-thread": "other"}) as client:
            await calling(client)("sandbox_ls", {})
        assert started.stop() == 0
    assert (await sandboxes.acquire(thread)).reused


async def test_the_server_of_http_ends_in_order_and_releases_when_asked(
    server, tmp_path, sandboxes
):
    with http_server(server, tmp_path, "--release", "--thread", "for a while") as started:
        async with connected(started) as client:
            await calling(client)("sandbox_ls", {})
            started_stopping = time.monotonic()
            assert await asyncio.to_thread(started.stop) == 0
            assert time.monotonic() - started_stopping < 15
    names = [s.thread_id for s in (await sandboxes.list_sandboxes()).sandboxes]
    assert "for a while" not in names


@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong-key-wrong-key"}])
def test_without_the_key_nothing_is_told(mcp_server, headers):
    answer = httpx.post(mcp_server.url, json={}, headers=headers, trust_env=False)
    assert answer.status_code == 401
    assert answer.json()["error"]["code"] == "unauthenticated"
    assert answer.headers["www-authenticate"].startswith("Bearer")


@pytest.mark.parametrize("origin", ["https://evil.example", "http://127.0.0.1:9999", "null"])
def test_web_pages_are_refused_even_with_the_key(mcp_server, origin):
    headers = {"authorization": f"Bearer {MCP_KEY}", "origin": origin}
    answer = httpx.post(mcp_server.url, json={}, headers=headers, trust_env=False)
    assert answer.status_code == 403


def test_without_a_key_only_names_of_loopback_are_answered(server, tmp_path):
    with http_server(server, tmp_path, key="") as started:
        headers = {"host": "evil.example:1"}
        answer = httpx.post(started.url, json={}, headers=headers, trust_env=False)
        assert answer.status_code == 403
        answer = httpx.post(started.url, json={}, trust_env=False)
        assert (answer.status_code, answer.json()["jsonrpc"]) == (400, "2.0")


def run_mcp(*options, **variables):
    return subprocess.run(
        [*COMMAND, *options],
        env=os.environ | variables,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_it_does_not_listen_beyond_loopback_without_a_key():
    ran = run_mcp("--transport", "http", "--host", "0.0.0.0", "--port", "0")
    assert ran.returncode == 1
    assert "loopback only" in ran.stderr
    assert "ONESEEK_SANDBOX_MCP_KEY" in ran.stderr


def test_a_short_key_is_refused_by_its_own_name():
    ran = run_mcp("--transport", "http", "--port", "0", ONESEEK_SANDBOX_MCP_KEY="short")
    assert ran.returncode == 1
    assert "ONESEEK_SANDBOX_MCP_KEY has 5 characters" in ran.stderr


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
