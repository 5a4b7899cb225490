"""LangChain tools, for LangGraph and everything else that takes them; needs the extra `langchain`.

The thread is the run's: `config["configurable"]["thread_id"]`, as checkpointers have it too.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import RunnableConfig  # noqa: TC002 - LangChain reads the annotation
from langchain_core.tools import StructuredTool, ToolException

from oneseek_sandbox.agent_tools import TOOLS, SandboxTools, ToolsOfThreads, choose_tools
from oneseek_sandbox.client import BlockingSandboxes, ThreadSandbox
from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from oneseek_sandbox.agent_tools import Tool, ToolResult
    from oneseek_sandbox.client import BackendSettings, Sandboxes

__all__ = ["langchain_tools"]

_ALL: Final = "arguments"
"""No tool has a field of this name."""


def langchain_tools(
    sandboxes: Sandboxes | BlockingSandboxes | ThreadSandbox,
    settings: BackendSettings | None = None,
    *,
    scope: str | Callable[[RunnableConfig], str | None] | None = None,
    raise_errors: bool = False,
    tools: Iterable[str] | None = None,
    yield_seconds: float | None = None,
) -> list[StructuredTool]:
    """Return the tools.

    The content of a tool's message is the text for the model; its artifact the service's answer, as
    plain data. An error makes a message with status `error`.

    Args:
        sandboxes: Open ones. With `BlockingSandboxes` the tools work by `invoke` and `ainvoke`,
            with the others by `ainvoke` only. A `ThreadSandbox` fixes the thread.
        scope: Tenant or user of the threads, or how to find it in the run's config. Not for a
            `ThreadSandbox`, which has its own.
        raise_errors: Let errors end the run as `ToolException` instead of telling the model.
        tools: Names of the tools to offer; all by default.
        yield_seconds: As of `SandboxTools`.
    """
    offered = choose_tools(tools, yielding=bool(yield_seconds))
    source = _Source(sandboxes, settings, scope, offered, yield_seconds)
    return [_tool(tool, source, raise_errors=raise_errors) for tool in offered.values()]


class _Source:
    """Finds a run's tools, and calls them where their sandboxes live."""

    def __init__(
        self,
        sandboxes: Sandboxes | BlockingSandboxes | ThreadSandbox,
        settings: BackendSettings | None,
        scope: str | Callable[[RunnableConfig], str | None] | None,
        offered: Iterable[str],
        yield_seconds: float | None,
    ) -> None:
        self.blocking: BlockingSandboxes | None = None
        self._fixed: SandboxTools | None = None
        self._scope = scope
        if isinstance(sandboxes, ThreadSandbox):
            self._fixed = SandboxTools(
                sandboxes, settings, tools=offered, yield_seconds=yield_seconds
            )
            return
        if isinstance(sandboxes, BlockingSandboxes):
            self.blocking = sandboxes
            sandboxes = sandboxes.wrapped
        self._threads = ToolsOfThreads(
            sandboxes, settings, tools=offered, yield_seconds=yield_seconds
        )

    async def run(self, name: str, arguments: dict[str, Any], config: RunnableConfig) -> ToolResult:
        """Call a tool of the run's thread, from any event loop."""
        work = self._call(name, arguments, config)
        if self.blocking is None:
            return await work
        there = asyncio.run_coroutine_threadsafe(work, self.blocking.loop)
        return await asyncio.wrap_future(there)

    def run_blocking(
        self,
        loop: asyncio.AbstractEventLoop,
        name: str,
        arguments: dict[str, Any],
        config: RunnableConfig,
    ) -> ToolResult:
        """Call a tool of the run's thread in the sandboxes' loop, and wait; interrupts cancel it."""
        work = self._call(name, arguments, config)
        there = asyncio.run_coroutine_threadsafe(work, loop)
        try:
            return there.result()
        except BaseException:
            there.cancel()
            raise

    async def _call(
        self, name: str, arguments: dict[str, Any], config: RunnableConfig
    ) -> ToolResult:
        # Also the search for the tools is done in the sandboxes' loop: runs may come from threads.
        return await self._tools(config).run(name, arguments)

    def _tools(self, config: RunnableConfig) -> SandboxTools:
        if self._fixed is not None:
            return self._fixed
        thread = (config.get("configurable") or {}).get("thread_id")
        if thread is None or str(thread) == "":
            raise ConfigurationError(
                "The run names no thread, so it has no sandbox: call it with config="
                '{"configurable": {"thread_id": …}}, or make the tools of a ThreadSandbox.'
            )
        scope = self._scope(config) if callable(self._scope) else self._scope
        return self._threads.of(str(thread), scope)


class _SandboxTool(StructuredTool):
    """Hands on what a model said under one name.

    LangChain makes every argument a keyword of its own functions, where a model's `self` is an
    error, and its `config` is lost.
    """

    def run(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return super().run(_wrapped(self.name, tool_input), *args, **kwargs)

    async def arun(self, tool_input: str | dict[str, Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401
        return await super().arun(_wrapped(self.name, tool_input), *args, **kwargs)


def _wrapped(name: str, given: str | dict[str, Any]) -> str | dict[str, Any]:
    """Put arguments below one name if there is any that is no field of the tool's."""
    if isinstance(given, str) or given.keys() <= TOOLS[name].arguments.model_fields.keys():
        return given
    return {_ALL: given}


def _tool(tool: Tool, source: _Source, *, raise_errors: bool) -> StructuredTool:
    # The parameter's annotation is how LangChain knows that it wants the config.
    async def coroutine(config: RunnableConfig, **arguments: Any) -> tuple[str, Any]:  # noqa: ANN401
        return _content(await source.run(tool.name, arguments.get(_ALL, arguments), config))

    func = None
    if source.blocking is not None:
        loop = source.blocking.loop

        def func(config: RunnableConfig, **arguments: Any) -> tuple[str, Any]:  # noqa: ANN401
            given = arguments.get(_ALL, arguments)
            return _content(source.run_blocking(loop, tool.name, given, config))

    return _SandboxTool(
        name=tool.name,
        description=tool.description,
        args_schema=tool.schema(),
        func=func,
        coroutine=coroutine,
        response_format="content_and_artifact",
        handle_tool_error=not raise_errors,
    )


def _content(result: ToolResult) -> tuple[str, Any]:
    if result.is_error:
        raise ToolException(result.text)
    # Plain data: checkpointers keep messages with their artifacts.
    return result.text, result.answer and result.answer.model_dump(mode="json")
