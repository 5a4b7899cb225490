"""The tools as an MCP server, over stdio; needs the extra `mcp`. `mcp_http` serves it over HTTP.

A thread is the server's own or the client program's, never the model's: the one the server was
started with; else the one that the client's HTTP header names; else one for each MCP session.
"""

from __future__ import annotations

import hashlib
import secrets
from typing import TYPE_CHECKING, Any, Final

import mcp_types as types
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from oneseek_sandbox import __version__
from oneseek_sandbox.agent_tools import TOOLS, ToolsOfThreads
from oneseek_sandbox.client import connect

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from oneseek_sandbox.agent_tools import Tool
    from oneseek_sandbox.client import BackendSettings

__all__ = ["THREAD_HEADER", "mcp_server", "serve_stdio"]

THREAD_HEADER: Final = "x-sandbox-thread"
_SESSION_HEADER: Final = "mcp-session-id"
_INSTRUCTIONS: Final = (
    "An isolated Linux sandbox of this conversation's own: run commands and edit files in "
    "/workspace. It is made at the first call and ends by itself when it is not used."
)
_NO_THREAD: Final = (
    "Error (no_thread): This MCP client opens no session and names no thread, so there is no "
    f"sandbox for it. Its configuration must send the header {THREAD_HEADER} with a name of its "
    "own, or the server be started with --thread. Tell the user; trying again does not help."
)


def mcp_server(
    tools: ToolsOfThreads, *, thread_id: str | None = None, scope: str | None = None
) -> Server[Any]:
    """Return a server of the six tools, for any transport of the SDK.

    Args:
        thread_id: The thread of all its clients; left out, see this module.
        scope: Tenant or user of its threads.
    """

    async def list_tools(
        _: ServerRequestContext[Any], __: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[_described(tool) for tool in TOOLS.values()])

    async def call_tool(
        context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        thread = thread_id or _thread_of_client(context)
        if thread is None:
            return _result(_NO_THREAD, is_error=True)
        result = await tools.of(thread, scope).run(params.name, params.arguments)
        return _result(result.text, is_error=result.is_error)

    async def discover(
        context: ServerRequestContext[Any], _: types.RequestParams
    ) -> types.DiscoverResult:
        found: types.DiscoverResult = await discover_all(context, None)
        if thread_id or _thread_of_client(context):
            return found
        # A client without sessions and without a thread could use no tool: it shall open a session.
        versions = list(HANDSHAKE_PROTOCOL_VERSIONS)
        return found.model_copy(update={"supported_versions": versions})

    server: Server[Any] = Server(
        "oneseek-sandbox",
        version=__version__,
        instructions=_INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )
    default = server.get_request_handler("server/discover")
    assert default is not None  # noqa: S101 - every server of the SDK has it
    discover_all: Any = default.handler
    server.add_request_handler("server/discover", types.RequestParams, discover)
    return server


async def serve_stdio(
    settings: BackendSettings,
    *,
    thread_id: str | None = None,
    scope: str | None = None,
    release: bool = False,
) -> None:
    """Serve one client on standard input and output until it closes them.

    Args:
        thread_id: Left out, a new one: the client's sandbox is found by nobody afterwards.
        release: End the sandbox at the end; else it ends when it was idle for long enough.
    """
    async with connect(settings) as sandboxes:
        tools = ToolsOfThreads(sandboxes, settings)
        server = mcp_server(
            tools, thread_id=thread_id or f"mcp-{secrets.token_hex(16)}", scope=scope
        )
        async with stdio_server() as (reader, writer):
            await server.run(reader, writer, server.create_initialization_options())
        if release:
            await tools.release_all()


def _described(tool: Tool) -> types.Tool:
    return types.Tool(
        name=tool.name,
        description=tool.description,
        input_schema=tool.schema(),
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


def _result(text: str, *, is_error: bool) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], is_error=is_error
    )
