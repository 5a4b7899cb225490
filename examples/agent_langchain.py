"""A LangChain agent: the tools are bound to a chat model, the thread is the run's."""

import asyncio

from oneseek_sandbox.adapters.langchain import langchain_tools
from oneseek_sandbox.client import BackendSettings, connect
from oneseek_sandbox.testing.scripted_chat_model import ScriptedChatModel


async def main() -> None:
    """Let a model work until it calls no more tools."""
    settings = BackendSettings.from_environment()
    run = {"configurable": {"thread_id": "agent-langchain"}}
    messages = ["Write average() with a test, and make it green."]
    async with connect(settings) as sandboxes:
        tools = {tool.name: tool for tool in langchain_tools(sandboxes, settings)}
        model = ScriptedChatModel().bind_tools(list(tools.values()))  # stands in for yours
        while calls := (message := await model.ainvoke(messages, run)).tool_calls:
            messages += [message]
            messages += [await tools[call["name"]].ainvoke(call, run) for call in calls]
        print(message.content)
        await tools["sandbox_release"].ainvoke({}, run)


asyncio.run(main())
