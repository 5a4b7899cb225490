"""Tools for a model over one thread's sandbox, for any framework; `docs/agent-tools.md`."""

from __future__ import annotations

from oneseek_sandbox.agent_tools.answers import WaitAnswer
from oneseek_sandbox.agent_tools.definitions import (
    READ_ONLY_TOOLS,
    TOOLS,
    Tool,
    choose_tools,
    function_schemas,
)
from oneseek_sandbox.agent_tools.images import Image
from oneseek_sandbox.agent_tools.results import ToolError, ToolResult
from oneseek_sandbox.agent_tools.threads import ToolsOfThreads
from oneseek_sandbox.agent_tools.tools import SandboxTools

__all__ = [
    "READ_ONLY_TOOLS",
    "TOOLS",
    "Image",
    "SandboxTools",
    "Tool",
    "ToolError",
    "ToolResult",
    "ToolsOfThreads",
    "WaitAnswer",
    "choose_tools",
    "function_schemas",
]
