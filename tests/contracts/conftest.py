"""A Redis-compatible server for the whole session, and stores in it that do not see each other."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from redis.asyncio import Redis

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.redis import RedisLeaseStore


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    home = tmp_path_factory.mktemp("redis-home")
    yield EmbeddedServer.ensure(home)
    EmbeddedServer.stop(home)


@pytest.fixture
def prefix():
    return f"test-{secrets.token_hex(6)}"


@pytest.fixture
async def new_redis_store(redis_url, prefix):
    stores = []

    async def new_redis_store(terms, url=redis_url, **options):
        stores.append(RedisLeaseStore(url, terms, prefix, **options))
        await stores[-1].open()
        return stores[-1]

    yield new_redis_store
    for store in stores:
        await store.close()


@pytest.fixture
async def redis(redis_url):
    async with Redis.from_url(redis_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def redis_later(redis):
    async def now_ms():
        seconds, microseconds = await redis.time()
        return seconds * 1000 + microseconds // 1000

    async def later(milliseconds):
        """Wait on the server's own clock, which is the one that counts."""
        end = await now_ms() + milliseconds
        while (rest := end - await now_ms()) > 0:
            await asyncio.sleep(rest / 1000)

    return later
