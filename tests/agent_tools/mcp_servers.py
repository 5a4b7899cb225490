"""MCP servers of the tests' own, and the SDK's client for them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import asynccontextmanager, contextmanager

import httpx2
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from tests.agent_tools.conftest import KEY

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
