"""An agent of Pydantic AI with a sandbox. MODEL names its model, SANDBOX_* variables say where sandboxes are."""

import os

from pydantic_ai import Agent, RunContext

from oneseek_sandbox.adapters.pydantic_ai import OneSeekWorkspace
from oneseek_sandbox.client import BackendSettings, BlockingSandboxes, connect

with BlockingSandboxes(connect(BackendSettings.from_environment())) as sandboxes:
    agent = Agent(os.environ["MODEL"], capabilities=[OneSeekWorkspace(sandboxes)])

    @agent.tool
    async def run(context: RunContext, command: str) -> str:
        """Run a shell command."""
        result = await context.workspace.run(command, shell=True)
        return f"{result.stdout}{result.stderr}[exit code {result.exit_code}]"

    print(agent.run_sync("Which version of Python is installed?").output)
