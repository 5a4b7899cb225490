"""An agent whose tools come from `oneseek-sandbox mcp`, started by this program."""

import asyncio
import os
from typing import Any

from mcp import Client, StdioServerParameters

from oneseek_sandbox.testing.scripted_model import play


async def main() -> None:
    """Let a model work until it calls no more tools."""
    server = StdioServerParameters(
        command="oneseek-sandbox", args=["mcp", "--release"], env=dict(os.environ)
    )
    async with Client(server) as client:

        async def call(name: str, arguments: dict[str, Any]) -> str:
            result = await client.call_tool(name, arguments)
            return result.content[0].text

        said, _ = await play(call)  # stands in for a model that was given client.list_tools()
        print(said)


asyncio.run(main())
