"""The tools of many threads, found by their names."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.agent_tools.tools import SandboxTools
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.client.thread import ThreadSandbox

if TYPE_CHECKING:
    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["ToolsOfThreads"]

_KEPT_THREADS: Final = 10_000


class ToolsOfThreads:
    """Gives each thread its tools, the same ones each time.

    Of a thread whose tools were forgotten, because very many others came since, the next call
    does not notice when its sandbox was replaced in between; nothing else is lost.

    Args:
        settings: For all of them.
    """

    def __init__(self, sandboxes: Sandboxes, settings: BackendSettings | None = None) -> None:
        self._sandboxes = sandboxes
        self._settings = settings or BackendSettings()
        self._tools: OrderedDict[tuple[str, str | None], SandboxTools] = OrderedDict()

    def of(self, thread_id: str, scope: str | None = None) -> SandboxTools:
        """Return the tools of a thread."""
        name = (thread_id, scope)
        tools = self._tools.get(name)
        if tools is None:
            idle = self._settings.sandbox_idle_timeout_seconds
            sandbox = ThreadSandbox(
                self._sandboxes, thread_id, scope=scope, idle_timeout_seconds=idle
            )
            tools = self._tools[name] = SandboxTools(sandbox, self._settings)
            if len(self._tools) > _KEPT_THREADS:
                self._tools.popitem(last=False)
        self._tools.move_to_end(name)
        return tools
