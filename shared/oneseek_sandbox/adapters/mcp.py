"""The tools as an MCP server, over stdio; needs the extra `mcp`. `mcp_http` serves it over HTTP.

A thread is the server's own or the client program's, never the model's: the one the server was
started with; else the one that the client's HTTP header names; else one for each MCP session.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from oneseek_sandbox import __version__
from oneseek_sandbox.adapters.mcp_lines import AnsweredLines
from oneseek_sandbox.adapters.mcp_progress import Progress
from oneseek_sandbox.agent_tools import ToolsOfThreads
from oneseek_sandbox.client import connect

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp.server.context import ServerRequestContext

    from oneseek_sandbox.agent_tools import Tool, ToolResult
    from oneseek_sandbox.client import BackendSettings

__all__ = ["THREAD_HEADER", "mcp_server", "serve_stdio"]

THREAD_HEADER: Final = "x-sandbox-thread"
_SESSION_HEADER: Final = "mcp-session-id"
_INSTRUCTIONS: Final = "An isolated Linux sandbox of this conversation's own, with its files in /workspace. It is made at the first call and ends by itself when it is not used."
_NO_THREAD: Final = (
    "Error (no_thread): This MCP client opens no session and names no thread, so there is no "
    f"sandbox for it. Its configuration must send the header {THREAD_HEADER} with a name of its "
    "own, or the server be started with --thread. Tell the user; trying again does not help."
)


def mcp_server(
    tools: ToolsOfThreads, *, thread_id: str | None = None, scope: str | None = None
) -> Server[Any]:
    """Return a server of the tools that are offered, for any transport of the SDK.

    Args:
        thread_id: The thread of all its clients; left out, see this module.
        scope: Tenant or user of its threads.
    """
    threads = _Threads(tools, thread_id, scope)
    server: Server[Any] = Server(
        "oneseek-sandbox",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=threads.list_tools,
        on_call_tool=threads.call_tool,
    )
    _advertise_sessions(server, threads)
    return server


async def serve_stdio(
    settings: BackendSettings,
    *,
    thread_id: str | None = None,
    scope: str | None = None,
    release: bool = False,
    offered: Iterable[str] | None = None,
    yield_seconds: float | None = None,
    stop: asyncio.Event | None = None,
) -> None:
    """Serve one client on standard input and output until it closes them.

    Args:
        thread_id: Left out, a new one: the client's sandbox is found by nobody afterwards.
        release: End the sandbox at the end; else it ends when it was idle for long enough.
        offered: Names of the tools to offer; all by default.
        yield_seconds: As of `SandboxTools`.
        stop: Ends it earlier. The thread that waits for input stays, and keeps the process.
    """
    async with connect(settings) as sandboxes:
        tools = ToolsOfThreads(
            sandboxes, settings, tools=offered, images=True, yield_seconds=yield_seconds
        )
        server = mcp_server(
            tools, thread_id=thread_id or f"mcp-{secrets.token_hex(16)}", scope=scope
        )
        serving = asyncio.create_task(_serve(server))
        stopping = asyncio.create_task((stop or asyncio.Event()).wait())
        await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        await tools.close()
        if release:
            await tools.release_all()
        if serving.done():
            serving.result()


async def _serve(server: Server[Any]) -> None:
    async with stdio_server() as (reader, writer):
        lines = AnsweredLines(reader, writer)
        await server.run(lines, writer, server.create_initialization_options())


class _Threads:
    """Finds the thread of a request, and calls its tools."""

    def __init__(self, tools: ToolsOfThreads, thread_id: str | None, scope: str | None) -> None:
        self._tools = tools
        self._thread_id = thread_id
        self._scope = scope

    def thread(self, context: ServerRequestContext[Any]) -> str | None:
        """Return the request's thread; None when nothing names one."""
        return self._thread_id or _thread_of_client(context)

    async def call_tool(
        self, context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        """Call one; every error is the result's text."""
        thread = self.thread(context)
        if thread is None:
            return types.CallToolResult(content=[_text(_NO_THREAD)], is_error=True)
        tools = self._tools.of(thread, self._scope)
        progress = Progress.wanted(context)
        on_line = None if progress is None else progress.tell
        return _result(await tools.run(params.name, params.arguments, on_line=on_line))

    async def list_tools(
        self, _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        """List those that are offered."""
        tools = [_described(tool) for tool in self._tools.offered.values()]
        return types.ListToolsResult(tools=tools)


def _advertise_sessions(server: Server[Any], threads: _Threads) -> None:
    """Ask a client to open a session that could use no tool without: one that names no thread."""
    default = server.get_request_handler("server/discover")
    assert default is not None  # noqa: S101 - every server of the SDK has it
    discover_all: Any = default.handler

    async def discover(
        context: ServerRequestContext[Any], params: types.RequestParams
    ) -> types.DiscoverResult:
        found: types.DiscoverResult = await discover_all(context, params)
        if threads.thread(context) is not None:
            return found
        versions = list(HANDSHAKE_PROTOCOL_VERSIONS)
        return found.model_copy(update={"supported_versions": versions})

    server.add_request_handler("server/discover", types.RequestParams, discover)


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema(),
        output_schema=tool.output_schema(),
        annotations=types.ToolAnnotations(
            read_only_hint=tool.reads_only, destructive_hint=not tool.reads_only
        ),
    )


def _thread_of_client(context: ServerRequestContext[Any]) -> str | None:
    if context.request is None:
        return None
    headers = context.request.headers
    if named := headers.get(THREAD_HEADER):
        return str(named)
    session = headers.get(_SESSION_HEADER)
    # In protocols without sessions nobody has checked the header, and anybody could guess one.
    if session is None or context.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
        return None
    # Who sees the names of threads, like an operator, must not have the sessions.
    return f"mcp-{hashlib.sha256(session.encode()).hexdigest()[:32]}"


def _result(result: ToolResult) -> types.CallToolResult:
    """Say it as text for the model, and as data for the program that hosts it."""
    content: list[types.ContentBlock] = [_text(result.text)]
    if result.image is not None:
        data = base64.b64encode(result.image.data).decode("ascii")
        image = types.ImageContent(type="image", data=data, mime_type=result.image.media_type)
        content.append(image)
    return types.CallToolResult(
        content=content,
        structured_content=result.answer and result.answer.model_dump(mode="json"),
        is_error=result.is_error,
    )


def _text(text: str) -> types.TextContent:
    return types.TextContent(type="text", text=text)
