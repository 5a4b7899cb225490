"""A deep agent with a sandbox. MODEL names its model, SANDBOX_* variables say where sandboxes are."""

import os

from deepagents import create_deep_agent
from langchain.chat_models import init_chat_model

from oneseek_sandbox.adapters.deepagents import DeepAgentsSandbox
from oneseek_sandbox.client import BackendSettings, BlockingSandboxes, connect

TASK = "Write /workspace/primes.py, which prints the first ten primes, and run it."

with BlockingSandboxes(connect(BackendSettings.from_environment())) as sandboxes:
    backend = DeepAgentsSandbox(sandboxes.thread("first-agent"))
    agent = create_deep_agent(model=init_chat_model(os.environ["MODEL"]), backend=backend)
    answer = agent.invoke({"messages": [("user", TASK)]})
    print(answer["messages"][-1].content)
