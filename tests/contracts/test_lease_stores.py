"""Every lease store keeps the promises of the port."""

from __future__ import annotations

import contextlib

import pytest

from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.leases import LeaseStoreContract
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore


class TestMemoryLeaseStore(LeaseStoreContract):
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    def new_store(self, clock):
        async def new_store(terms):
            return MemoryLeaseStore(terms, clock)

        return new_store

    @pytest.fixture
    def later(self, clock):
        async def later(milliseconds):
            clock.advance(milliseconds)

        return later


class TestRedisLeaseStore(LeaseStoreContract):
    @pytest.fixture
    def new_store(self, new_redis_store):
        return new_redis_store

    @pytest.fixture
    def later(self, redis_later):
        return redis_later


class TestFileLeaseStore(LeaseStoreContract):
    @pytest.fixture
    def clock(self):
        return FakeClock()

    @pytest.fixture
    async def new_store(self, tmp_path, clock):
        async with contextlib.AsyncExitStack() as stack:

            async def new_store(terms):
                store = FileLeaseStore(tmp_path, terms, clock)
                stack.push_async_callback(store.close)
                await store.open()
                return store

            yield new_store

    @pytest.fixture
    def later(self, clock):
        async def later(milliseconds):
            clock.advance(milliseconds)

        return later
