"""The tools in LangChain, with its own messages, calls and config."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from langchain_core.messages import HumanMessage, ToolMessage
from langchain_core.tools import ToolException
from langchain_core.utils.function_calling import convert_to_openai_tool
from tests.agent_tools.conftest import KEY

from oneseek_sandbox.adapters.langchain import langchain_tools
from oneseek_sandbox.agent_tools import choose_tools, function_schemas
from oneseek_sandbox.client import BlockingSandboxes, ThreadSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.errors import ConfigurationError
from oneseek_sandbox.testing.scripted_chat_model import ScriptedChatModel
from oneseek_sandbox.testing.scripted_model import GREEN


def config(thread):
    return {"configurable": {"thread_id": thread}}


def by_name(tools):
    return {tool.name: tool for tool in tools}


def call(name, **arguments):
    return {"name": name, "args": arguments, "id": "1", "type": "tool_call"}


@pytest.fixture
def blocking(server):
    with BlockingSandboxes(RemoteSandboxes(server.url, KEY)) as opened:
        yield opened


async def test_an_agent_fixes_a_program_by_coroutines(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    model = ScriptedChatModel()
    bound = model.bind_tools(list(tools.values()))
    messages = [HumanMessage("Write average(), with a test.")]
    while True:
        answer = await bound.ainvoke(messages, config(thread))
        messages.append(answer)
        if not answer.tool_calls:
            break
        (wanted,) = answer.tool_calls
        messages.append(await tools[wanted["name"]].ainvoke(wanted, config(thread)))
    assert answer.content == GREEN
    assert model.bound == list(choose_tools(None))
    statuses = [m.status for m in messages if isinstance(m, ToolMessage)]  # type: ignore[attr-defined]
    assert statuses.count("error") == 1


def test_an_agent_fixes_a_program_without_coroutines(blocking):
    tools = by_name(langchain_tools(blocking))
    model = ScriptedChatModel()
    messages = [HumanMessage("Write average(), with a test.")]
    while True:
        answer = model.invoke(messages)
        messages.append(answer)
        if not answer.tool_calls:
            break
        (wanted,) = answer.tool_calls
        messages.append(tools[wanted["name"]].invoke(wanted, config("no coroutines")))
    assert answer.content == GREEN
    released = tools["sandbox_release"].invoke(call("sandbox_release"), config("no coroutines"))
    assert released.content.startswith("Released")


def test_blocking_sandboxes_serve_an_event_loop_too(blocking):
    tools = by_name(langchain_tools(blocking))

    async def run(thread):
        wanted = call("sandbox_execute", command="echo $((6 * 7))")
        message = await tools["sandbox_execute"].ainvoke(wanted, config(thread))
        await tools["sandbox_release"].ainvoke({}, config(thread))
        return message.content

    async def both():
        return await asyncio.gather(run("one of two"), run("two of two"))

    assert asyncio.run(both()) == ["exit code: 0\n42"] * 2


async def test_langchains_own_agent_keeps_the_conversation_by_the_same_thread(sandboxes, thread):
    agents = pytest.importorskip("langchain.agents", reason="comes with the other adapters")
    from langgraph.checkpoint.memory import InMemorySaver

    tools = langchain_tools(sandboxes)
    agent = agents.create_agent(ScriptedChatModel(), tools, checkpointer=InMemorySaver())
    done = await agent.ainvoke({"messages": ["Write average()."]}, config(thread))
    assert done["messages"][-1].content == GREEN
    kept = (await agent.aget_state(config(thread))).values["messages"]
    assert kept[2].artifact["path"] == "/workspace/project/average.py"


async def test_threads_of_the_config_are_apart(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    write = call("sandbox_write_file", path="/workspace/mine", content="x")
    await tools["sandbox_write_file"].ainvoke(write, config(thread))
    other = config(f"{thread} other")
    assert (await tools["sandbox_ls"].ainvoke(call("sandbox_ls"), other)).content == "(empty)"
    await tools["sandbox_release"].ainvoke({}, other)
    listed = await tools["sandbox_ls"].ainvoke(call("sandbox_ls"), config(thread))
    assert listed.content == "/workspace/mine  1"


async def test_the_scope_comes_from_the_config_too(sandboxes, thread):
    tools = by_name(
        langchain_tools(sandboxes, scope=lambda given: given["configurable"].get("user_id"))
    )
    run = {"configurable": {"thread_id": thread, "user_id": "somebody"}}
    assert await tools["sandbox_ls"].ainvoke({}, run) == "(empty)"
    assert (await sandboxes.release(thread_id=thread, scope="somebody")).released


async def test_a_thread_sandbox_fixes_the_thread(sandboxes, thread):
    tools = by_name(langchain_tools(ThreadSandbox(sandboxes, thread)))
    ran = await tools["sandbox_execute"].ainvoke({"command": "echo hi"}, config("another"))
    assert ran == "exit code: 0\nhi"
    assert (await sandboxes.acquire(thread)).reused


async def test_a_run_without_a_thread_is_the_programmers_mistake(sandboxes):
    tools = by_name(langchain_tools(sandboxes))
    with pytest.raises(ConfigurationError, match="thread_id"):
        await tools["sandbox_ls"].ainvoke({})


async def test_a_message_has_the_answer_as_plain_data_beside_the_text(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    wanted = call("sandbox_execute", command="echo out; exit 3")
    message = await tools["sandbox_execute"].ainvoke(wanted, config(thread))
    assert message.status == "success"
    assert message.content == "exit code: 3\nout"
    assert json.loads(json.dumps(message.artifact))["exit_code"] == 3


def test_commands_yield_where_that_is_asked_for(blocking, thread):
    tools = by_name(langchain_tools(blocking, yield_seconds=0.3))
    wanted = call("sandbox_execute", command="while ! test -e go; do sleep 0.02; done; exit 3")
    message = tools["sandbox_execute"].invoke(wanted, config(thread))
    assert message.content.startswith("still running")
    assert message.artifact["still_running"]
    written = {"path": "/workspace/go", "content": ""}
    tools["sandbox_write_file"].invoke(written, config(thread))
    deadline = time.monotonic() + 60
    while message.artifact["still_running"]:
        assert time.monotonic() < deadline
        named = call("sandbox_wait", request_id=message.artifact["request_id"])
        message = tools["sandbox_wait"].invoke(named, config(thread))
    assert message.content == "exit code: 3\n(no output)"


async def test_an_error_reaches_the_model_as_one(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    for wanted in (
        call("sandbox_read_file", path="/workspace/no"),
        call("sandbox_read_file", file="/workspace/no"),
    ):
        message = await tools["sandbox_read_file"].ainvoke(wanted, config(thread))
        assert message.status == "error"
        assert message.content.startswith("Error (")


async def test_errors_may_be_exceptions(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes, raise_errors=True))
    with pytest.raises(ToolException, match="file_not_found"):
        await tools["sandbox_read_file"].ainvoke({"path": "/workspace/no"}, config(thread))


async def test_langchain_gives_models_the_same_schemas(sandboxes):
    given = [convert_to_openai_tool(tool) for tool in langchain_tools(sandboxes)]
    assert given == function_schemas()
    yielding = langchain_tools(sandboxes, yield_seconds=45)
    assert [convert_to_openai_tool(tool) for tool in yielding] == function_schemas(yielding=True)


async def test_a_model_cannot_choose_the_thread(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    wanted = call("sandbox_ls", config={"configurable": {"thread_id": "other"}}, thread_id="other")
    message = await tools["sandbox_ls"].ainvoke(wanted, config(thread))
    assert "thread_id: no such field" in message.content


@pytest.mark.parametrize(
    "name", ["self", "config", "run_manager", "callbacks", "arguments", "tool_input", "no_such"]
)
async def test_every_name_that_is_no_field_is_told_to_the_model(sandboxes, blocking, thread, name):
    wanted = call("sandbox_ls", **{name: {"path": "/workspace"}})
    by_coroutine = by_name(langchain_tools(sandboxes))["sandbox_ls"]
    without = by_name(langchain_tools(blocking))["sandbox_ls"]
    for message in (
        await by_coroutine.ainvoke(wanted, config(thread)),
        await asyncio.to_thread(without.invoke, wanted, config(thread)),
    ):
        assert message.status == "error"
        assert f"{name}: no such field" in message.content


async def test_a_cancelled_run_ends_its_command(sandboxes, thread):
    tools = by_name(langchain_tools(sandboxes))
    await tools["sandbox_ls"].ainvoke({}, config(thread))
    running = asyncio.create_task(
        tools["sandbox_execute"].ainvoke(
            {"command": "touch begun; exec sleep 54.321"}, config(thread)
        )
    )

    async def sees(command, wanted):
        async with asyncio.timeout(20):
            while (await sandboxes.execute(command, thread_id=thread)).exit_code != wanted:
                await asyncio.sleep(0.05)

    await sees("test -e begun", 0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await sees("pgrep -f 54.32[1]", 1)
