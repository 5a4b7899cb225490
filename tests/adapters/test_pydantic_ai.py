"""Workspaces of Pydantic AI, beyond what its own suite asks."""

from __future__ import annotations

import asyncio
import os

import pytest
from pydantic_ai import Agent, RunContext
from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
from pydantic_ai.models.function import FunctionModel
from pydantic_ai.workspaces import (
    Workspace,
    WorkspaceOutputLimitError,
    WorkspaceRef,
    WorkspaceTimeoutError,
    WorkspaceUnavailableError,
)
from tests.adapters.conftest import KEY

from oneseek_sandbox.adapters.pydantic_ai import OneSeekWorkspace, OneSeekWorkspaceBackend
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import ServerUnreachableError


@pytest.fixture
async def remote(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        yield sandboxes
        for sandbox in (await sandboxes.list_sandboxes()).sandboxes:
            await sandboxes.release(sandbox_id=sandbox.sandbox_id)


@pytest.fixture
def backend(remote):
    return OneSeekWorkspaceBackend(remote)


def agent_that_runs(*commands, capabilities=()):
    """An agent whose model calls a tool with each command, and then tells the last result."""

    def model(messages, _):
        results = []
        for part in (part for message in messages for part in message.parts):
            if part.part_kind == "user-prompt":
                results = []
            elif part.part_kind == "tool-return":
                results.append(part.content)
        if len(results) < len(commands):
            return ModelResponse([ToolCallPart("run", {"command": commands[len(results)]})])
        return ModelResponse([TextPart(f"told {results[-1]!r}")])

    agent = Agent(FunctionModel(model), capabilities=capabilities)

    @agent.tool
    async def run(context: RunContext, command: str) -> str:
        return (await context.workspace.run(command, shell=True)).stdout

    return agent


def test_an_agent_that_waits_works_in_a_sandbox(sandboxes, loop_of_run_sync):
    agent = agent_that_runs(
        "echo 6*7 > sum",
        "python3 -c \"print(eval(open('sum').read()))\"",
        capabilities=[OneSeekWorkspace(sandboxes)],
    )
    first = agent.run_sync("Compute.")
    assert first.output == r"told '42\n'"
    sandboxes.release(sandbox_id=first.workspace.ref.id)


async def test_a_conversation_goes_on_in_its_sandbox_and_is_told_when_that_is_gone(remote):
    capability = OneSeekWorkspace(remote, env={"GREETING": "hello"})
    first = await agent_that_runs('echo "$GREETING" > kept', capabilities=[capability]).run("Keep.")
    history = first.all_messages()
    agent = agent_that_runs("true", "cat kept", capabilities=[capability])
    second = await agent.run("Read.", message_history=history)
    assert (second.output, second.workspace.ref) == (r"told 'hello\n'", first.workspace.ref)
    await remote.release(sandbox_id=first.workspace.ref.id)
    with pytest.raises(WorkspaceUnavailableError, match="released"):
        await agent_that_runs("true", "true", capabilities=[capability]).run(
            "Go on.", message_history=history
        )


async def test_a_thread_that_is_named_is_the_same_sandbox_every_time(remote):
    one, other = (OneSeekWorkspaceBackend(remote, thread_id="named") for _ in range(2))
    await Workspace(one).write_text("file", "text")
    assert await Workspace(other).read_text("file") == "text"
    assert one.ref == other.ref


@pytest.mark.parametrize(
    "naming",
    [
        {"ref": WorkspaceRef(provider="local", id="/")},
        {"ref": WorkspaceRef(provider="oneseek", id="0" * 32), "thread_id": "named"},
    ],
)
async def test_a_ref_that_cannot_be_meant_is_refused(remote, naming):
    with pytest.raises(ValueError, match="ref"):
        OneSeekWorkspaceBackend(remote, **naming)


async def test_a_ref_that_never_was_is_unavailable(remote):
    never = OneSeekWorkspaceBackend(remote, ref=WorkspaceRef(provider="oneseek", id="0" * 32))
    for operation in (never.working_dir(), never.run(["true"]), never.read_bytes("/workspace/f")):
        with pytest.raises(WorkspaceUnavailableError):
            await operation


async def test_another_providers_ref_is_left_to_others(remote):
    capability = OneSeekWorkspace(remote)
    assert capability.get_workspace(None, ref=WorkspaceRef(provider="local", id="/")) is None


async def test_one_who_is_cancelled_while_the_sandbox_is_made_keeps_its_ref(backend):
    first = asyncio.create_task(backend.working_dir())
    await asyncio.sleep(0)  # it has asked by then
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    async with asyncio.timeout(60):
        while backend.ref is None:
            await asyncio.sleep(0.01)
    assert (await backend.run(["true"])).exit_code == 0


async def test_a_server_that_is_not_there_is_told_of_and_asked_again():
    async with RemoteSandboxes("http://127.0.0.1:9", retry_seconds=0) as nowhere:
        backend = OneSeekWorkspaceBackend(nowhere)
        for _ in range(2):
            with pytest.raises(ServerUnreachableError):
                await backend.working_dir()
        assert backend.ref is None


async def test_output_that_is_not_complete_is_an_error(backend):
    with pytest.raises(WorkspaceOutputLimitError) as told:
        await backend.run("yes out | head -c 3000000; echo err >&2", shell=True)
    assert told.value.limit < 3_000_000
    assert told.value.stdout.startswith("out\nout\n")
    assert told.value.stderr == "err\n"


async def test_more_complete_output_may_be_asked_for(remote):
    backend = OneSeekWorkspaceBackend(remote, max_output_bytes=5_000_000)
    ran = await backend.run("yes out | head -c 4000000", shell=True)
    assert ran.stdout == "out\n" * 1_000_000


async def test_a_timeout_tells_the_output_until_then(backend):
    with pytest.raises(WorkspaceTimeoutError) as told:
        await backend.run("echo before; sleep 60", shell=True, timeout=0.5)
    assert told.value.stdout == "before\n"


@pytest.mark.parametrize("timeout", [0, -1, float("inf"), float("nan"), "1", 1e9])
async def test_a_timeout_that_cannot_be_kept_is_refused(backend, timeout):
    with pytest.raises(ValueError, match="timeout"):
        await backend.run(["true"], timeout=timeout)


async def test_variables_are_layered(remote):
    backend = OneSeekWorkspaceBackend(remote, env={"A": "1", "B": "1"})
    ran = await backend.run('echo "$A$B"', shell=True, env={"B": "2"})
    assert ran.stdout == "12\n"
    with pytest.raises(ValueError, match="="):
        await backend.run(["true"], env={"A=B": "1"})


async def test_names_that_are_not_utf8_go_all_the_way(backend):
    await backend.run(["sh", "-c", "printf inside > \"$(printf 'odd\\377')\""])
    (entry,) = await backend.list_dir("/workspace")
    assert os.fsencode(entry.name) == b"odd\xff"
    assert (entry.path, entry.size) == (f"/workspace/{entry.name}", 6)
    assert await backend.read_bytes(entry.path) == b"inside"
    await backend.write_bytes(entry.path, b"more inside")
    assert (await backend.stat(entry.path)).size == 11
    assert await backend.realpath(entry.path) == entry.path
    await backend.remove(entry.path)
    assert not await backend.exists(entry.path)


async def test_a_large_directory_is_listed_whole(backend):
    await backend.run(["python3", "-c", "for n in range(12_000): open(f'{n:050}', 'w').close()"])
    assert [e.name for e in await backend.list_dir("/workspace")] == [
        f"{n:050}" for n in range(12_000)
    ]


async def test_a_tree_deeper_than_python_recurses_is_removed(backend):
    deep = "import os\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')"
    await backend.run(["python3", "-c", deep])
    await backend.remove("/workspace/d")
    assert await backend.list_dir("/workspace") == []


async def test_a_link_out_of_the_workspace_is_no_way_to_write_there(backend):
    await backend.run(["ln", "-s", "/tmp", "out"])
    with pytest.raises(PermissionError):
        await backend.write_bytes("/workspace/out/file", b"")


async def test_paths_must_be_absolute(backend):
    for path in ("relative", "/workspace/\0"):
        with pytest.raises(ValueError):
            await backend.stat(path)


async def test_what_passes_for_python_inside_is_not_believed(backend):
    program = '#!/bin/sh\necho \'{"errno": null, "problem": "", "value": 7}\'\n'
    await backend.write_bytes("/workspace/.local/bin/python3", program.encode())
    await backend.run(["chmod", "+x", ".local/bin/python3"])
    path = (await backend.run('echo "$PATH"', shell=True)).stdout
    if not path.startswith("/workspace/.local/bin"):
        pytest.skip("nothing inside comes before the image's python3 here")
    for operation in (backend.stat, backend.list_dir, backend.realpath):
        with pytest.raises(Exception, match="is not an answer"):
            await operation("/workspace")
