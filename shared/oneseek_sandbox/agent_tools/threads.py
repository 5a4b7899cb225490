"""The tools of many threads, found by their names."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.agent_tools.definitions import choose_tools
from oneseek_sandbox.agent_tools.tools import SandboxTools
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.client.thread import ThreadSandbox
from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.recent import Recent

if TYPE_CHECKING:
    from collections.abc import Iterable

    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["ToolsOfThreads"]

log = logging.getLogger(__name__)

_KEPT_THREADS: Final = 10_000


class ToolsOfThreads:
    """Gives each thread its tools, the same ones each time.

    Of a thread whose tools were forgotten, because very many others came since, the next call
    does not notice when its sandbox was replaced in between; nothing else is lost.

    Args:
        settings: For all of them.
        tools: Names of the tools to offer; all by default.
        images: Images that are read are in `ToolResult.image`, for models that can look at them.
        yield_seconds: As of `SandboxTools`.

    Attributes:
        offered: The tools by name.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        settings: BackendSettings | None = None,
        *,
        tools: Iterable[str] | None = None,
        images: bool = False,
        yield_seconds: float | None = None,
    ) -> None:
        self.offered = choose_tools(tools, yielding=bool(yield_seconds))
        self._images = images
        self._yield_seconds = yield_seconds
        self._sandboxes = sandboxes
        self._settings = settings or BackendSettings()
        self._tools: Recent[tuple[str, str | None], SandboxTools] = Recent(_KEPT_THREADS)

    def of(self, thread_id: str, scope: str | None = None) -> SandboxTools:
        """Return the tools of a thread."""
        name = (thread_id, scope)
        tools = self._tools.get(name)
        if tools is None:
            idle = self._settings.sandbox_idle_timeout_seconds
            sandbox = ThreadSandbox(
                self._sandboxes, thread_id, scope=scope, idle_timeout_seconds=idle
            )
            tools = self._tools[name] = SandboxTools(
                sandbox,
                self._settings,
                tools=self.offered,
                images=self._images,
                yield_seconds=self._yield_seconds,
            )
        return tools

    async def close(self) -> None:
        """End the commands whose calls were not answered; those told as still running go on."""
        await asyncio.gather(*(tools.close() for tools in self._tools.values()))

    async def release_all(self) -> None:
        """End the sandboxes that were used; one that cannot be ended just now is only logged."""
        for tools in self._tools.values():
            if tools.sandbox.acquired is None:
                continue
            try:
                await tools.sandbox.release()
            except SandboxError as error:
                log.warning("Not released, and left to end when idle: %s", error)
