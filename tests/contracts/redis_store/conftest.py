"""A Redis of the test's own, which it may hurt."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest
from redis.asyncio import Redis

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.testing.leases import LONG


@pytest.fixture
def home(tmp_path):
    """A home with a server of its own, which the test may hurt."""
    EmbeddedServer.ensure(tmp_path)
    yield tmp_path
    with contextlib.suppress(ProcessLookupError, ValueError, OSError):
        os.kill(server_pid(tmp_path), signal.SIGCONT)
    EmbeddedServer.stop(tmp_path)


@pytest.fixture
async def own_redis(home):
    async with Redis.from_url(EmbeddedServer.ensure(home), decode_responses=True) as client:
        yield client


@pytest.fixture
async def open_store():
    async with contextlib.AsyncExitStack() as stack:

        async def open_store(url, terms=LONG, **options):
            store = RedisLeaseStore(url, terms, **options)
            stack.push_async_callback(store.close)
            await store.open()
            return store

        yield open_store


def server_pid(home):
    return int((home / "redis" / "server.pid").read_text())
