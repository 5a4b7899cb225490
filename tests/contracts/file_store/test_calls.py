"""Calls to a store in a file: races between processes, and what one call costs or leaves."""

from __future__ import annotations

import asyncio
import contextlib
import os

import pytest
from tests.contracts.file_store.programs import RACER, run

from oneseek_sandbox.errors import (
    LeaseNotFoundError,
    SandboxExpiredError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases.store import Busy, LeaseTerms, Thread
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.leases import begin, make_ready, placement

THREAD = Thread("tenant", "thread")


@pytest.mark.promise(1)
async def test_of_200_acquires_in_several_processes_and_threads_one_creates_each_sandbox(tmp_path):
    children = [await run(RACER, 3, "file", tmp_path) for _ in range(4)]
    async with asyncio.timeout(60):
        for child in children:
            assert await child.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    outcomes = b" ".join(output for output, _ in outputs).split()
    assert len(outcomes) == 200
    for thread in (b"0", b"1", b"2"):
        assert outcomes.count(thread + b":Creation") == 1
        assert outcomes.count(thread + b":Busy") > 60


@pytest.mark.promise(3)
async def test_generations_grow_over_all_processes(open_store):
    stores = [await open_store() for _ in range(4)]

    async def generations(number, store):
        return [
            (await begin(store, Thread(str(number), str(turn)))).generation for turn in range(20)
        ]

    found = await asyncio.gather(*(generations(*each) for each in enumerate(stores)))
    assert len({generation for each in found for generation in each}) == 80
    assert all(each == sorted(each) for each in found)


ENDS = {
    "commit": lambda store, creation: store.commit(creation, placement()),
    "abandon": lambda store, creation: store.abandon(creation),
    "release": lambda store, creation: store.release(creation.thread, sandbox_id=None),
}


@pytest.mark.promise(1)
@pytest.mark.parametrize("end", ENDS)
async def test_waiters_of_other_processes_wake_by_looking(open_store, end):
    creator, waiter = await open_store(), await open_store()
    creation = await begin(creator)
    waits = asyncio.create_task(waiter.wait(THREAD, 30_000))
    assert isinstance(await waiter.acquire(THREAD, attempt="b"), Busy)
    await ENDS[end](creator, creation)
    async with asyncio.timeout(20):
        await waits


@pytest.mark.promise(1)
async def test_waiters_of_the_same_process_wake_by_notice(open_store, monkeypatch):
    # So rarely that looking cannot be what wakes them.
    monkeypatch.setattr("oneseek_sandbox.leases.file._LOOK_MS", 30_000)
    store = await open_store()
    for end in ENDS.values():
        creation = await begin(store)
        waits = asyncio.create_task(store.wait(THREAD, 30_000))
        await store.get(THREAD)
        await end(store, creation)
        async with asyncio.timeout(20):
            await waits
        with contextlib.suppress(LeaseNotFoundError):
            await store.release(THREAD, sandbox_id=None)


async def test_what_changes_nothing_writes_nothing(open_store, folder, book):
    store = await open_store()
    with pytest.raises(LeaseNotFoundError):
        await store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=1)
    assert await store.expire(10)
    assert not book.exists()
    lease = await make_ready(store)
    await store.once("sweep", 60_000)
    before = book.stat()
    await store.get(THREAD)
    await store.leases()
    await store.doomed(10)
    await store.doomed_among(["u"])
    await store.resolve(lease.sandbox_id)
    await store.wait(THREAD, 1000)
    await store.clear(lease)
    await store.forget("nobody")
    assert not await store.once("sweep", 60_000)
    with pytest.raises(LeaseNotFoundError):
        await store.resolve("0" * 32)
    after = book.stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


async def test_what_a_refused_call_changed_is_kept(open_store):
    clock = FakeClock()
    store = await open_store(LeaseTerms(60_000, idle_ms=100), clock=clock)
    lease = await make_ready(store, uid="u1")
    clock.advance(100)
    with pytest.raises(SandboxExpiredError):
        await store.pin(THREAD, sandbox_id=lease.sandbox_id, pin_id="p", limit_ms=10)
    other = await open_store(LeaseTerms(60_000, idle_ms=100), clock=clock)
    assert [entry.uid for entry in await other.doomed(10)] == ["u1"]
    assert await other.leases() == []


async def test_a_hundred_calls_at_once_cost_few_rewrites(open_store, monkeypatch):
    store = await open_store()
    syncs = []
    monkeypatch.setattr(os, "fsync", syncs.append)
    await asyncio.gather(*(make_ready(store, Thread("t", str(number))) for number in range(100)))
    # Two for each rewrite: the file and its folder. One by one it would be 400.
    assert len(syncs) < 60
    assert len(await store.leases()) == 100


async def test_a_call_given_up_midway_does_not_mix_up_the_answers_of_others(open_store):
    store = await open_store()
    threads = [Thread("tenant", str(number)) for number in range(20)]
    for thread in threads:
        await make_ready(store, thread)
    for delay in [0.0, 0.0002, 0.0005, 0.001, 0.002, 0.004] * 5:
        calls = [
            asyncio.create_task(store.pin(thread, sandbox_id=None, pin_id="p", limit_ms=60_000))
            for thread in threads
        ]
        await asyncio.sleep(delay)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for thread, answer in zip(threads, answers, strict=True):
            assert isinstance(answer, asyncio.CancelledError) or answer.thread == thread


async def test_a_fault_of_ours_is_told_and_leaves_the_store_as_it_was(open_store, monkeypatch):
    store = await open_store()
    lease = await make_ready(store)

    def broken(book, lease, *, now_ms):
        book.records.clear()
        raise ZeroDivisionError

    monkeypatch.setattr("oneseek_sandbox.leases.book.LeaseBook.lose", broken)
    with pytest.raises(ZeroDivisionError):
        await store.lose(lease)
    assert await store.get(THREAD) == lease


async def test_a_store_that_is_closed_says_so(open_store):
    store = await open_store()
    await store.close()
    with pytest.raises(StoreUnavailableError, match="has closed its lease store"):
        await store.get(THREAD)
