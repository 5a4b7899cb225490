"""Six tools for a model over one thread's sandbox, for any framework; `docs/agent-tools.md`."""

from __future__ import annotations

from oneseek_sandbox.agent_tools.definitions import TOOLS, Tool, function_schemas
from oneseek_sandbox.agent_tools.threads import ToolsOfThreads
from oneseek_sandbox.agent_tools.tools import SandboxTools, ToolError, ToolResult

__all__ = [
    "TOOLS",
    "SandboxTools",
    "Tool",
    "ToolError",
    "ToolResult",
    "ToolsOfThreads",
    "function_schemas",
]
