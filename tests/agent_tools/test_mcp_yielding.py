"""Long commands over MCP: yielding, going on, progress and cancellation, as the SDK's client has them."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
from contextlib import asynccontextmanager

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
LONGEST = 102_000
GO = {"path": "/workspace/go", "content": ""}


async def begun(client, command, prints="", **options):
    """Start a command that does not end by itself; returns what names it, once it has printed that."""
    given = {"command": command, "timeout_seconds": 60}
    result = await client.call_tool("sandbox_execute", given, **options)
    assert result.structured_content["still_running"], result.content[0].text
    named = {"request_id": result.structured_content["request_id"]}
    async with asyncio.timeout(60):
        while prints not in result.structured_content["stdout"]:
            result = await client.call_tool("sandbox_wait", named, **options)
    assert len(result.content[0].text) < LONGEST
    return named


async def until_ended(client, named):
    """Go on until it has ended; returns what it printed meanwhile, and the last result."""
    said = ""
    async with asyncio.timeout(60):
        while True:
            result = await client.call_tool("sandbox_wait", named)
            assert len(result.content[0].text) < LONGEST
            if result.is_error:
                return said, result
            said += result.structured_content["stdout"]
            if not result.structured_content["still_running"]:
                return said, result


@pytest.mark.parametrize("mode", ERAS)
async def test_a_long_command_goes_on_over_stdio(server, mode):
    async with Client(stdio(server, "--release", *SHORT), mode=mode) as client:
        # The client checks each answer against the schema that the list gives.
        schemas = {tool.name: tool.output_schema for tool in (await client.list_tools()).tools}
        assert schemas["sandbox_execute"]["type"] == "object"
        named = await begun(client, f"echo one; {UNTIL_GO}; echo two; exit 3", "one")
        await client.call_tool("sandbox_write_file", GO)
        said, last = await until_ended(client, named)
        assert said == "two\n"
        assert last.content[0].text.startswith("exit code: 3\n")
        assert last.structured_content["exit_code"] == 3


async def test_a_long_command_goes_on_over_http_in_its_session(server, tmp_path):
    with http_server(server, tmp_path, "--release", *SHORT) as started:
        async with connected(started) as one, connected(started) as other:
            named = await begun(one, UNTIL_GO)
            elsewhere = await other.call_tool("sandbox_wait", named)
            assert elsewhere.content[0].text.startswith("Error (process_not_found)")
            await one.call_tool("sandbox_write_file", GO)
            _, last = await until_ended(one, named)
            assert last.structured_content["exit_code"] == 0


async def test_two_wait_at_once_and_both_are_told_the_end(server):
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, f"echo one; {UNTIL_GO}; echo two", "one")
        waiting = [asyncio.create_task(until_ended(client, named)) for _ in range(2)]
        await client.call_tool("sandbox_write_file", GO)
        for said, last in await asyncio.gather(*waiting):
            assert last.structured_content["exit_code"] == 0
            assert "two" in said


async def test_a_command_is_found_by_the_next_server_of_its_thread(server, thread):
    async with Client(stdio(server, "--thread", thread, *SHORT)) as client:
        named = await begun(client, f"echo one; {UNTIL_GO}; echo two", "one")
    async with Client(stdio(server, "--thread", thread, *SHORT)) as client:
        looked = await client.call_tool("sandbox_wait", {**named, "wait_seconds": 0})
        assert looked.structured_content["still_running"]
        assert looked.structured_content["stdout"] == "one\n"
        stopped = await client.call_tool("sandbox_wait", {**named, "stop": True})
        assert stopped.structured_content["killed_by"] == "cancelled"


async def test_a_command_whose_worker_was_killed_is_told_as_lost(new_server):
    server = new_server(key=KEY)
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, "echo kept > file; echo one; exec sleep 50", "one")
        (status,) = server.home.glob("sandboxes/*/status")
        os.kill(first_process(status), signal.SIGKILL)
        _, last = await until_ended(client, named)
        told = last.content[0].text
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


KEPT = {
    "control characters": "\x1b[31mred\x1b[0m\0\r\b\u202ex",
    "no newline": "no newline",
    "no UTF-8": r"\xff\xfe",
    "a huge line": "x" * 40_000,
}


@pytest.mark.parametrize("hostile", HOSTILE)
async def test_hostile_output_is_told_bounded_and_as_text(server, hostile):
    async with Client(stdio(server, "--release", "--yield-seconds", "2.5")) as client:
        await client.list_tools()
        messages = []

        async def note(progress, total, message):
            messages.append(message)

        command = f"{HOSTILE[hostile]}; {UNTIL_GO}; {HOSTILE[hostile]}"
        named = await begun(client, command, KEPT[hostile], progress_callback=note)
        await client.call_tool("sandbox_write_file", GO)
        said, last = await until_ended(client, named)
        assert KEPT[hostile] in said
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
    async with raw_client(server, "--release") as (ask, read):
        await ask(2, "sandbox_ls", {})
        assert (await read())["id"] == 2
        # Whoever hears nothing lets it end by itself, long after something would have come.
        command = "sleep 2.5" if token is None else f"echo hi; {UNTIL_GO}"
        given = {"command": command, "timeout_seconds": 60}
        await ask(3, "sandbox_execute", given, {} if token is None else {"progressToken": token})
        told, answers = [], []
        while 3 not in answers or (told and 4 not in answers):
            line = await read()
            if "id" in line:
                answers.append(line["id"])
                continue
            assert 3 not in answers
            assert line["method"] == "notifications/progress"
            told.append(line["params"])
            if line["params"].get("message") == "hi":
                await ask(4, "sandbox_write_file", GO)
        assert {params["progressToken"] for params in told} == ({token} - {None})
        # What would come afterwards comes before the answer to this one.
        await ask(5, "sandbox_ls", {})
        assert (await read())["id"] == 5


@asynccontextmanager
async def raw_client(server, *options):
    """Give what sends a tool's call, and what reads a line."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND,
        *options,
        env=os.environ | environment(server),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )

    async def send(message):
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        await process.stdin.drain()

    async def ask(number, name, arguments, meta=None):
        params = {"name": name, "arguments": arguments, "_meta": meta or {}}
        await send({"id": number, "method": "tools/call", "params": params})

    async def read():
        return json.loads(await process.stdout.readline())

    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    client["clientInfo"] = {"name": "test", "version": "0"}
    async with asyncio.timeout(90):
        await send({"id": 1, "method": "initialize", "params": client})
        assert (await read())["id"] == 1
        await send({"method": "notifications/initialized"})
        yield ask, read
        process.stdin.close()
        await process.wait()


async def test_a_cancelled_wait_leaves_its_command_alone(server):
    async with Client(stdio(server, "--release", *SHORT)) as client:
        named = await begun(client, f"{UNTIL_GO}; echo two")
        waiting = asyncio.create_task(client.call_tool("sandbox_wait", named))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await client.call_tool("sandbox_write_file", GO)
        said, _ = await until_ended(client, named)
        assert said == "two\n"


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
