"""The provisioner over a store and a runtime in memory; only the sockets to workers are real."""

from __future__ import annotations

import asyncio

import pytest

from oneseek_sandbox.auth import Caller, TokenKey
from oneseek_sandbox.clock import SystemClock
from oneseek_sandbox.control.acquisition import Acquisition
from oneseek_sandbox.control.claiming import Claims
from oneseek_sandbox.control.cleanup import Cleanup
from oneseek_sandbox.control.creation import Creator
from oneseek_sandbox.control.judgement import Judge
from oneseek_sandbox.control.pins import Pins
from oneseek_sandbox.control.provisioner import Provisioner
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.models import AcquireRequest
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.testing.memory_lease_store import MemoryLeaseStore
from oneseek_sandbox.testing.memory_runtime import MemoryRuntime
from oneseek_sandbox.workers.client import WorkerClient

CREATION_MS = 300


class World:
    """One server's parts, in reach of a test."""

    caller = Caller("test")
    thread = Thread("default", "t")

    def __init__(self, store, **settings):
        self.settings = Settings.model_validate(settings)
        self.store = store
        self.runtime = MemoryRuntime()
        self.workers = WorkerClient()
        self.claims = Claims(
            self.runtime, self.workers, TokenKey(b"token key of the tests"), startup_seconds=2
        )
        self.creator = Creator(self.store, self.runtime, self.claims, creation_ms=CREATION_MS)
        self.judge = Judge(self.store, self.runtime, self.workers)
        self.acquisition = Acquisition(
            self.store, self.runtime, self.creator, self.judge, patience_seconds=10
        )
        self.provisioner = Provisioner(
            settings=self.settings,
            store=self.store,
            workers=self.workers,
            pins=Pins(self.store),
            clock=SystemClock(),
            acquisition=self.acquisition,
        )

    async def acquire(self, thread_id="t", **fields):
        request = AcquireRequest(thread_id=thread_id, **fields)
        return await self.provisioner.acquire(request, self.caller)

    def hold_claims(self):
        """Let claims wait; return what is set when one begins, and what lets them go on."""
        claim, claiming, go_on = self.workers.claim, asyncio.Event(), asyncio.Event()

        async def slow_claim(*args, **fields):
            claiming.set()
            await go_on.wait()
            return await claim(*args, **fields)

        self.workers.claim = slow_claim
        return claiming, go_on

    async def begin(self, attempt="a"):
        return await self.store.acquire(self.thread, attempt=attempt)

    def cleanup(self):
        return Cleanup(
            self.store,
            self.runtime,
            self.creator,
            self.judge,
            sweep_ms=0,
            now_ms=SystemClock().now_ms(),
        )

    def empty_store(self):
        """Forget every lease, as a Redis that was emptied does."""
        self.store._book = type(self.store._book)(self.store._book.terms)

    def only_object(self):
        (sandbox,) = self.runtime.objects.values()
        return sandbox

    def worker(self):
        return self.runtime.workers[self.only_object().uid]

    async def pins(self):
        lease = await self.store.get(self.thread)
        return lease.pins if lease else 0


@pytest.fixture
async def new_world():
    worlds = []

    def new_world(store=MemoryLeaseStore, **settings):
        worlds.append(World(store(LeaseTerms(creation_ms=CREATION_MS)), **settings))
        return worlds[-1]

    yield new_world
    for world in worlds:
        await world.provisioner.close()


@pytest.fixture
def world(new_world):
    return new_world()
