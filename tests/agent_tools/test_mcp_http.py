"""The MCP server over streamable HTTP, as the SDK's own client meets it."""

from __future__ import annotations

import asyncio
import time

import httpx
import pytest
from tests.agent_tools.mcp_servers import (
    ERAS,
    MCP_KEY,
    calling,
    connected,
    http_server,
    run_mcp,
)

from oneseek_sandbox.testing.scripted_model import GREEN, play


@pytest.fixture(scope="module")
def mcp_server(server, tmp_path_factory):
    with http_server(server, tmp_path_factory.mktemp("mcp"), "--release") as started:
        yield started


async def test_an_agent_fixes_a_program_over_http(mcp_server):
    async with connected(mcp_server) as client:
        said, _ = await play(calling(client))
    assert said == GREEN


async def test_a_server_over_http_offers_what_it_was_told(server, tmp_path):
    with http_server(server, tmp_path, "--tool", "sandbox_execute") as started:
        async with connected(started) as client:
            listed = [tool.name for tool in (await client.list_tools()).tools]
    assert listed == ["sandbox_execute"]


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


def test_it_does_not_listen_beyond_loopback_without_a_key():
    ran = run_mcp("--transport", "http", "--host", "0.0.0.0", "--port", "0")
    assert ran.returncode == 1
    assert "loopback only" in ran.stderr
    assert "ONESEEK_SANDBOX_MCP_KEY" in ran.stderr


def test_a_short_key_is_refused_by_its_own_name():
    ran = run_mcp("--transport", "http", "--port", "0", ONESEEK_SANDBOX_MCP_KEY="short")
    assert ran.returncode == 1
    assert "ONESEEK_SANDBOX_MCP_KEY has 5 characters" in ran.stderr
