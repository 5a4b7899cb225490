"""Servers on sockets; and both event loops, as uvicorn takes uvloop, whose transports are others."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import pytest
import uvloop
from tests.unit.workers.callers import Caller

from oneseek_sandbox.workers.connection import Peer
from oneseek_sandbox.workers.pool import WirePool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


def pytest_asyncio_loop_factories(config, item):
    return {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture(params=["unix", "tcp"])
async def serve(request, tmp_path):
    """Return a function that starts a server of one handler and returns its peer and its callers."""
    async with contextlib.AsyncExitStack() as stack:

        async def start(handle: Callable[[Caller], Awaitable[None]]):
            callers = []

            async def take(reader, writer):
                callers.append(caller := Caller(reader, writer))
                with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                    await handle(caller)
                writer.close()

            if request.param == "unix":
                path = tmp_path / "socket"
                server = await asyncio.start_unix_server(take, path)
                address = f"unix:{path}"
            else:
                server = await asyncio.start_server(take, "127.0.0.1", 0)
                address = f"tcp:127.0.0.1:{server.sockets[0].getsockname()[1]}"
            stack.callback(server.close)
            return Peer(address), callers

        yield start


@pytest.fixture
async def pool():
    pool = WirePool()
    yield pool
    pool.close()
