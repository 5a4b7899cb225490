"""A Redis that is killed, hangs, is emptied, not there, or not fit for leases."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from functools import partial

import pytest
from tests.contracts.redis_store.conftest import server_pid

from oneseek_sandbox.errors import (
    ConfigurationError,
    CreationLostError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import Thread
from oneseek_sandbox.testing.leases import begin, make_ready, placement

THREAD = Thread("tenant", "thread")


@pytest.mark.promise(8)
async def test_killing_the_server_under_load_loses_no_acknowledged_commit(home, open_store):
    ensure = partial(EmbeddedServer.ensure, home)
    store = await open_store(ensure(), revive=partial(asyncio.to_thread, ensure))
    acknowledged = {}
    stop = asyncio.Event()

    async def work(worker):
        number = 0
        while not stop.is_set():
            thread, number = Thread(f"worker {worker}", str(number)), number + 1
            with contextlib.suppress(CreationLostError, StoreUnavailableError):
                lease = await make_ready(store, thread)
                acknowledged[thread] = lease.sandbox_id

    workers = [asyncio.create_task(work(worker)) for worker in range(8)]
    for _ in range(4):
        goal = len(acknowledged) + 150
        async with asyncio.timeout(60):
            while len(acknowledged) < goal:
                await asyncio.sleep(0.005)
        os.kill(server_pid(home), signal.SIGKILL)
    stop.set()
    await asyncio.gather(*workers)
    kept = {lease.thread: lease.sandbox_id for lease in await store.leases()}
    assert acknowledged.items() <= kept.items()


@pytest.mark.promise(3, 8)
async def test_generations_grow_after_the_store_was_emptied(home, own_redis, open_store):
    store = await open_store(EmbeddedServer.ensure(home))
    before = await begin(store)
    await own_redis.flushall()
    with pytest.raises(CreationLostError):
        await store.commit(before, placement())
    after = await begin(store)
    assert after.generation > before.generation
    labelled = after.generation + 10**7
    assert (await store.renew(after, above_generation=labelled)).generation > labelled
    await own_redis.execute_command("SCRIPT", "FLUSH")
    assert (await begin(store, Thread("tenant", "next"))).generation > labelled + 1


@pytest.mark.promise(8)
async def test_a_store_that_is_away_is_an_error_soon_and_comes_back(home, open_store):
    store = await open_store(EmbeddedServer.ensure(home))
    lease = await make_ready(store)
    EmbeddedServer.stop(home)
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match="Try again") as caught:
        await store.get(THREAD)
    assert time.monotonic() - start < 30
    assert caught.value.retryable
    EmbeddedServer.ensure(home)
    assert await store.get(THREAD) == lease


@pytest.mark.promise(8)
async def test_a_store_that_hangs_is_an_error_soon_and_comes_back(home, open_store):
    store = await open_store(EmbeddedServer.ensure(home))
    lease = await make_ready(store)
    os.kill(server_pid(home), signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError):
        await store.get(THREAD)
    assert time.monotonic() - start < 30
    os.kill(server_pid(home), signal.SIGCONT)
    assert await store.get(THREAD) == lease


async def test_a_server_of_our_own_is_revived(home, open_store):
    ensure = partial(EmbeddedServer.ensure, home)
    store = await open_store(ensure(), revive=partial(asyncio.to_thread, ensure))
    lease = await make_ready(store)
    os.kill(server_pid(home), signal.SIGKILL)
    assert await asyncio.gather(*(store.get(THREAD) for _ in range(20))) == [lease] * 20


@pytest.mark.promise(8)
@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru", "allkeys-random"])
async def test_a_redis_that_evicts_is_refused(home, own_redis, open_store, policy):
    await own_redis.config_set("maxmemory", "100mb")
    await open_store(EmbeddedServer.ensure(home))
    await own_redis.config_set("maxmemory-policy", policy)
    with pytest.raises(ConfigurationError, match="noeviction"):
        await open_store(EmbeddedServer.ensure(home))


@pytest.mark.promise(8)
async def test_a_redis_that_does_not_let_us_see_whether_it_evicts_is_refused(
    home, own_redis, open_store
):
    rules = "ACL SETUSER app on >s3cret ~* &* +@all -info"
    await own_redis.execute_command(*rules.split())
    url = EmbeddedServer.ensure(home).replace("unix://", "unix://app:s3cret@")
    with pytest.raises(ConfigurationError, match="INFO"):
        await open_store(url)
    await own_redis.execute_command("ACL", "SETUSER", "app", "+info", "-config")
    await make_ready(await open_store(url))


async def test_a_wrong_password_is_said_at_once_and_never_repeated(home, own_redis, open_store):
    await own_redis.acl_setuser("app", enabled=True, passwords=["+right"], categories=["+@all"])
    url = EmbeddedServer.ensure(home).replace("unix://", "unix://app:s3cret@")
    with pytest.raises(ConfigurationError, match="password") as caught:
        await open_store(url)
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


async def test_a_server_that_is_not_there_is_named_without_its_password(open_store):
    start = time.monotonic()
    with pytest.raises(StoreUnavailableError, match=r"127\.0\.0\.1:1\b") as caught:
        await open_store("redis://app:s3cret@127.0.0.1:1/0")
    assert time.monotonic() - start < 30
    assert "s3cret" not in f"{caught.value} {caught.value.__cause__}"


@pytest.mark.parametrize(
    "url", ["http://app:s3cret@host", "redis://app:s3cret/x@host:y", "redis://h:99999999", "s3cret"]
)
def test_a_url_that_is_none_is_refused_without_repeating_it(url):
    with pytest.raises(ConfigurationError, match="percent-encode") as caught:
        RedisLeaseStore(url)
    assert "s3cret" not in str(caught.value)
    assert caught.value.__suppress_context__


@pytest.mark.parametrize("prefix", ["", "a b", "{a}", "a}b"])
def test_a_prefix_that_would_scatter_the_keys_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix"):
        RedisLeaseStore("redis://host", prefix=prefix)
