"""An agent in any framework, or in none: the tools as function schemas, and one call."""

import asyncio

from oneseek_sandbox.agent_tools import SandboxTools, function_schemas
from oneseek_sandbox.client import BackendSettings, ThreadSandbox, connect
from oneseek_sandbox.testing.scripted_model import ScriptedCompletions


async def main() -> None:
    """Let a model work until it calls no more tools."""
    settings = BackendSettings.from_environment()
    model = ScriptedCompletions()  # stands in for yours: messages and tools in, a message out
    messages = [{"role": "user", "content": "Write average() with a test, and make it green."}]
    async with connect(settings) as sandboxes:
        tools = SandboxTools(ThreadSandbox(sandboxes, "agent-plain"), settings)
        while calls := (message := await model(messages, function_schemas())).get("tool_calls"):
            messages.append(message)
            for call in calls:
                function = call["function"]
                text = await tools.call(function["name"], function["arguments"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": text})
        print(message["content"])
        await tools.call("sandbox_release")


asyncio.run(main())
