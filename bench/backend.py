"""What a backend pays: each adapter beside the bare client, and calls a second with many tasks.

Starts a server of its own. What is compared takes turns, so that a busy minute hits all.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mcp import Client, StdioServerParameters

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.adapters.langchain import langchain_tools
from oneseek_sandbox.agent_tools import SandboxTools
from oneseek_sandbox.client import ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.testing.server import LiveServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

KEY = "key-of-the-benchmark"
THREAD = "bench"
FILE = "/workspace/small.txt"
BARE = "HTTP by hand (httpx)"
TASKS = (1, 64)


@asynccontextmanager
async def ways_to_read(
    server: LiveServer,
) -> AsyncIterator[dict[str, Callable[[], Awaitable[object]]]]:
    """Give ways to read one small file of one thread, by name."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(server.async_client())
        sandboxes = await stack.enter_async_context(RemoteSandboxes(server.url, KEY))
        thread = ThreadSandbox(sandboxes, THREAD)
        await thread.write_file(FILE, "one line\n")
        assert thread.acquired is not None
        sandbox_id = thread.acquired.sandbox_id
        tools = SandboxTools(thread)
        (read_tool,) = (t for t in langchain_tools(thread) if t.name == "sandbox_read_file")
        deep = DeepAgentsSandbox(thread)
        environment = {
            "PATH": os.environ["PATH"],
            "SANDBOX_MODE": "provisioner",
            "SANDBOX_PROVISIONER_URL": server.url,
            "SANDBOX_PROVISIONER_API_KEY": KEY,
        }
        command = [sys.executable, "-m", "oneseek_sandbox.cli", "mcp", "--thread", THREAD]
        over_stdio = StdioServerParameters(command=command[0], args=command[1:], env=environment)
        mcp = await stack.enter_async_context(Client(over_stdio))
        body = {"sandbox_id": sandbox_id, "path": FILE}
        arguments = {"path": FILE}

        async def by_hand() -> object:
            return (await http.post("/v1/sandbox/read_file", json=body)).raise_for_status().json()

        yield {
            BARE: by_hand,
            "the client": lambda: sandboxes.read_file(FILE, sandbox_id=sandbox_id),
            "a thread's sandbox": lambda: thread.read_file(FILE),
            "the plain tool": lambda: tools.call("sandbox_read_file", arguments),
            "the LangChain tool": lambda: read_tool.ainvoke(arguments),
            "the deepagents backend": lambda: deep.aread(FILE),
            "the MCP tool (stdio)": lambda: mcp.call_tool("sandbox_read_file", arguments),
        }


async def compare(ways: dict[str, Callable[[], Awaitable[object]]], rounds: int) -> None:
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 3):
        for name, call in ways.items():
            begun = time.perf_counter()
            await call()
            if number >= 3:
                taken[name].append(1000 * (time.perf_counter() - begun))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, median in medians.items():
        more = median - medians["the client"]
        print(f"{'read_file by ' + name:40} {median:7.2f} ms  {more:+6.2f} ms beside the client")


async def saturate(server: LiveServer, seconds: float) -> None:
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        acquired = await sandboxes.acquire(THREAD)
        for tasks in TASKS:
            done = 0
            end = time.perf_counter() + seconds

            async def work(end: float = end) -> None:
                nonlocal done
                while time.perf_counter() < end:
                    await sandboxes.ls(sandbox_id=acquired.sandbox_id)
                    done += 1

            await asyncio.gather(*(work() for _ in range(tasks)))
            print(f"{f'ls, {tasks} tasks':40} {done / seconds:7.0f} calls/s")


async def measure(server: LiveServer, rounds: int, seconds: float) -> None:
    async with ways_to_read(server) as ways:
        await compare(ways, rounds)
    await saturate(server, seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure a backend's side.")
    parser.add_argument("--rounds", type=int, default=150, help="turns of each way")
    parser.add_argument("--seconds", type=float, default=5, help="of each number of tasks")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, LiveServer(Path(folder), key=KEY) as server:
        asyncio.run(measure(server, given.rounds, given.seconds))


if __name__ == "__main__":
    sys.exit(main())
