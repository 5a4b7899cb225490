"""What the store keeps in Redis: where, how long, and what a call costs."""

from __future__ import annotations

import pytest
from redis.crc import key_slot

from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.testing.leases import LONG, begin, make_ready, placement

THREAD = Thread("tenant", "thread")


@pytest.mark.promise(8)
@pytest.mark.finding(1)
async def test_a_lease_that_only_a_later_version_understands_is_among_all(
    home, own_redis, open_store
):
    store = await open_store(EmbeddedServer.ensure(home))
    threads = [Thread("a:b", "c:d"), Thread("", "é")]
    for thread in threads:
        await make_ready(store, thread)
    for key in await own_redis.keys("*lease:*"):
        await own_redis.hset(key, "state", "hibernating")
    found = await store.leases()
    assert {(lease.thread, lease.state) for lease in found} == {(t, "unknown") for t in threads}


async def test_all_keys_are_in_one_slot(new_redis_store, redis, prefix):
    store = await new_redis_store(LONG)
    for name in ("plain", "{other}", "a:b", "é"):
        lease = await make_ready(store, Thread("{tenant}", name))
        await store.pin(lease.thread, sandbox_id=None, pin_id="p", limit_ms=60_000)
        await begin(store, lease.thread, lost=lease)
    await store.once("{sweep}", 60_000)
    keys = [key async for key in redis.scan_iter(match="*" + prefix + "*")]
    kinds = {key.split(":")[1] for key in keys}
    assert kinds == {
        *("lease", "sandbox", "last-end", "once"),
        *("live", "doomed", "doomed-entries", "generation"),
    }
    assert len({key_slot(key.encode()) for key in keys}) == 1


async def test_pins_that_were_never_let_go_do_not_pile_up(
    new_redis_store, redis, redis_later, prefix
):
    store = await new_redis_store(LONG)
    await make_ready(store)
    for number in range(3):
        await store.pin(THREAD, sandbox_id=None, pin_id=f"p{number}", limit_ms=1)
        await redis_later(2)
    assert await redis.zcard(f"{{{prefix}}}:pins:6:tenant:thread") == 1


async def test_nothing_is_left_of_leases_that_ended_and_were_forgotten(
    new_redis_store, redis, redis_later, prefix
):
    store = await new_redis_store(LeaseTerms(60_000, ended_ms=30, idle_ms=60_000))
    for number in range(5):
        lease = await make_ready(store, Thread("tenant", str(number)), uid=f"u{number}")
        await store.pin(lease.thread, sandbox_id=None, pin_id="p", limit_ms=60_000)
        await store.release(lease.thread, sandbox_id=None)
        await store.forget(f"u{number}")
    await store.abandon(await begin(store))
    await redis_later(31)
    keys = [key async for key in redis.scan_iter(match=f"{{{prefix}}}:*")]
    assert keys == [f"{{{prefix}}}:generation"]


@pytest.mark.promise(9)
async def test_expiring_costs_what_is_due_and_not_what_exists(new_redis_store, redis, redis_later):
    store = await new_redis_store(LONG)
    for number in range(200):
        await make_ready(store, Thread("tenant", str(number)))
    for number in range(3):
        await store.acquire(Thread("tenant", str(number)), attempt="a", idle_ms=1)
    await redis_later(5)
    await redis.config_resetstat()
    assert len((await store.expire(100)).doomed) == 3
    statistics = await redis.info("commandstats")
    assert statistics["cmdstat_hgetall"]["calls"] == 3


async def test_variables_do_not_outlive_a_lease_that_another_version_ended(
    new_redis_store, redis, prefix
):
    store = await new_redis_store(LONG)
    creation = await store.acquire(THREAD, attempt="a", env='{"A":"1"}')
    lease = await store.commit(creation, placement())
    key = f"{{{prefix}}}:env:{lease.sandbox_id}"
    most = LONG.idle_ms + LONG.ended_ms
    assert most - 30_000 < await redis.pttl(key) <= most
    assert await redis.hget(f"{{{prefix}}}:lease:6:tenant:thread", "env") is None


async def test_a_lease_of_the_last_version_has_no_labels_and_no_variables(
    new_redis_store, redis, prefix
):
    store = await new_redis_store(LONG)
    lease = await make_ready(store)
    await redis.hdel(f"{{{prefix}}}:lease:6:tenant:thread", "labels", "env_lost", "env_version")
    assert await store.leases() == [lease]
    given = await store.acquire(THREAD, attempt="b", labels='{"a":"b"}', env='{"A":"1"}')
    assert (given.lease.labels, given.lease.env_version) == ('{"a":"b"}', 1)
