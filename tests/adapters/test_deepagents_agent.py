"""A model works in a sandbox through deepagents' own tools."""

from __future__ import annotations

from deepagents import create_deep_agent
from langchain_core.messages import AIMessage, ToolMessage
from tests.adapters.conftest import KEY
from tests.adapters.scripted_model import ScriptedModel, call

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client.remote import RemoteSandboxes
from oneseek_sandbox.client.thread import ThreadSandbox

PROGRAM = "def mean(values):\n    return sum(values) / len(values) + 1\n"
TESTS = """import unittest
from mean import mean

class Mean(unittest.TestCase):
    def test_two(self):
        self.assertEqual(mean([2, 4]), 3)
"""
RUN = "python3 -B -m unittest test_mean.py"


def fixing_steps():
    def read_the_error(told):
        assert "AssertionError: 4.0 != 3" in told
        assert "exit code 1" in told
        return call("read_file", file_path="/workspace/mean.py")

    def fix(told):
        assert "+ 1" in told
        return call(
            "edit_file",
            file_path="/workspace/mean.py",
            old_string=" + 1",
            new_string="",
        )

    def end(told):
        assert "OK" in told
        assert "exit code 0" in told
        return AIMessage("The tests are green.")

    return [
        lambda _: call("write_file", file_path="/workspace/mean.py", content=PROGRAM),
        lambda _: call("write_file", file_path="/workspace/test_mean.py", content=TESTS),
        lambda _: call("execute", command=RUN),
        read_the_error,
        fix,
        lambda _: call("execute", command=RUN),
        end,
    ]


ASK = {"messages": [("user", "Write a mean function, and get its tests green.")]}


def test_an_invoked_agent_writes_runs_reads_the_error_and_fixes(new_thread):
    thread = new_thread()
    model = ScriptedModel(steps=fixing_steps())
    agent = create_deep_agent(model=model, backend=DeepAgentsSandbox(thread))
    messages = agent.invoke(ASK)["messages"]
    assert messages[-1].content == "The tests are green."
    assert "+ 1" not in thread.read_file("/workspace/mean.py").content


async def test_an_awaited_agent_does_the_same(server):
    async with RemoteSandboxes(server.url, KEY) as sandboxes:
        thread = ThreadSandbox(sandboxes, "awaited-agent")
        model = ScriptedModel(steps=fixing_steps())
        agent = create_deep_agent(model=model, backend=DeepAgentsSandbox(thread))
        messages = (await agent.ainvoke(ASK))["messages"]
        assert messages[-1].content == "The tests are green."
        await thread.release()


def test_a_model_is_told_when_its_sandbox_was_replaced(new_thread, sandboxes):
    thread = new_thread()

    def release_behind_its_back(told):
        assert "written" in told or "Updated" in told
        sandboxes.release(thread_id=thread.thread_id)
        return call("execute", command="cat notes.txt")

    def told_of_it(told):
        assert "a new one with an empty workspace is ready" in told
        assert "The call was not done" in told
        return call("execute", command="ls -A | wc -l")

    def end(told):
        assert told.startswith("0\n")
        return AIMessage("I begin again.")

    steps = [
        lambda _: call("write_file", file_path="/workspace/notes.txt", content="one"),
        release_behind_its_back,
        told_of_it,
        end,
    ]
    agent = create_deep_agent(model=ScriptedModel(steps=steps), backend=DeepAgentsSandbox(thread))
    assert agent.invoke(ASK)["messages"][-1].content == "I begin again."


def test_what_is_too_long_for_the_model_is_kept_and_can_be_read_again(new_thread):
    backend = DeepAgentsSandbox(new_thread())
    steps = [
        lambda _: call("execute", command="seq 1 40000; echo last-line"),
        lambda told: AIMessage(told),
    ]
    agent = create_deep_agent(model=ScriptedModel(steps=steps), backend=backend)
    messages = agent.invoke(ASK)["messages"]
    result = next(message for message in messages if isinstance(message, ToolMessage))
    path = next(word for word in result.content.split() if word.startswith("/large_tool_results/"))
    again = backend.read(path.rstrip(".,"), offset=39_999, limit=10)
    assert again.file_data is not None
    assert again.file_data["content"].startswith("40000\nlast-line")
    assert backend.grep("last-line", path="/large_tool_results").matches != []
    assert backend.grep("last-line").matches == []
