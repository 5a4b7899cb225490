"""What only a store of several processes can get wrong: races, crashes, and a server that goes away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis
from redis.crc import key_slot

from oneseek_sandbox.errors import (
    ConfigurationError,
    CreationLostError,
    StoreUnavailableError,
)
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import Creation, LeaseTerms, Thread
from oneseek_sandbox.testing.leases import LONG, begin, make_ready, placement

THREAD = Thread("tenant", "thread")
RACER = Path(__file__).with_name("racing_acquirer.py")


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


@pytest.mark.promise(1)
async def test_of_200_acquires_in_several_processes_and_threads_one_creates(redis_url, prefix):
    children = [
        await asyncio.create_subprocess_exec(
            sys.executable,
            *(str(RACER), "1", "redis", redis_url, prefix),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        for _ in range(4)
    ]
    async with asyncio.timeout(60):
        for child in children:
            assert await child.stdout.readline() == b"ready\n"
        outputs = await asyncio.gather(*(child.communicate(b"go\n") for child in children))
    outcomes = b" ".join(output for output, _ in outputs).split()
    assert len(outcomes) == 200
    assert outcomes.count(b"0:Creation") == 1
    assert outcomes.count(b"0:Busy") == 199


ENDS = {
    "commit": lambda store, creation: store.commit(creation, placement()),
    "abandon": lambda store, creation: store.abandon(creation),
    "release": lambda store, creation: store.release(creation.thread, sandbox_id=None),
}


@pytest.mark.promise(1)
@pytest.mark.parametrize("end", ENDS)
async def test_waiters_of_other_processes_wake_by_notice_and_not_by_looking(new_redis_store, end):
    creator, waiter = await new_redis_store(LONG), await new_redis_store(LONG)
    delays = []
    for number in range(5):
        thread = Thread("tenant", str(number))
        creation = await begin(creator, thread)
        waits = asyncio.create_task(waiter.wait(thread, 30_000))
        await waiter._subscription._start(5000)
        await asyncio.sleep(0.02)
        start = time.monotonic()
        await ENDS[end](creator, creation)
        async with asyncio.timeout(20):
            await waits
        delays.append(time.monotonic() - start)
    # Looking for oneself happens every 500 ms only.
    assert min(delays) < 0.2


@pytest.mark.promise(1)
async def test_a_waiter_whose_notices_are_cut_off_wakes_all_the_same(new_redis_store, redis):
    creator, waiter = await new_redis_store(LONG), await new_redis_store(LONG)
    for number in range(3):
        thread = Thread("tenant", str(number))
        creation = await begin(creator, thread)
        waits = asyncio.create_task(waiter.wait(thread, 30_000))
        await waiter._subscription._start(5000)
        await redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await creator.commit(creation, placement())
        async with asyncio.timeout(20):
            await waits


@pytest.mark.promise(1)
async def test_nobody_misses_a_notice_between_acquire_and_wait(new_redis_store):
    creator, waiter = await new_redis_store(LONG), await new_redis_store(LONG)
    creation = await begin(creator)
    await creator.commit(creation, placement())
    async with asyncio.timeout(20):
        await waiter.wait(THREAD, 30_000)


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


async def test_calls_given_up_midway_do_not_mix_up_the_answers_of_others(new_redis_store):
    store = await new_redis_store(LONG)
    threads = [Thread("tenant", str(number)) for number in range(20)]
    for thread in threads:
        await make_ready(store, thread)
    for delay in [0.0, 0.0002, 0.0005, 0.001, 0.002, 0.004] * 10:
        calls = [asyncio.create_task(store.get(thread)) for thread in threads]
        await asyncio.sleep(delay)
        for call in calls[::2]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
        for thread, answer in zip(threads, answers, strict=True):
            assert isinstance(answer, asyncio.CancelledError) or answer.thread == thread


class LossyProxy:
    """Passes calls on, and cuts the connection instead of passing an answer back when told to."""

    def __init__(self, server, path):
        self._server = server
        self.path = path
        self.lose_next = False
        self.lost = 0

    async def __aenter__(self):
        self._listener = await asyncio.start_unix_server(self._serve, str(self.path))
        return self

    async def __aexit__(self, *_):
        self._listener.close()

    async def _serve(self, reader, writer):
        upstream_reader, upstream_writer = await asyncio.open_unix_connection(self._server)
        back = asyncio.create_task(self._back(upstream_reader, writer))
        while data := await reader.read(65536):
            upstream_writer.write(data)
        upstream_writer.close()
        await back

    async def _back(self, reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(65536):
                if self.lose_next:
                    self.lose_next, self.lost = False, self.lost + 1
                    break
                writer.write(data)
        writer.close()


async def test_a_transition_whose_answer_was_lost_is_repeated_without_harm(
    redis_url, prefix, tmp_path, open_store
):
    async with LossyProxy(redis_url.removeprefix("unix://"), tmp_path / "proxy.sock") as proxy:
        store = await open_store(f"unix://{proxy.path}", prefix=prefix)

        async def lossy(call):
            proxy.lose_next = True
            return await call

        creation = await lossy(store.acquire(THREAD, attempt="a"))
        assert isinstance(creation, Creation)
        lease = await lossy(store.commit(creation, placement("u1")))
        assert lease.state == "ready"
        pinned = await lossy(store.pin(THREAD, sandbox_id=None, pin_id="p", limit_ms=60_000))
        assert pinned.pins == 1
        await lossy(store.unpin(pinned, pin_id="p"))
        creation = await lossy(store.restart(lease, attempt="b"))
        assert isinstance(creation, Creation)
        above = creation.generation + 100
        renewed = await lossy(store.renew(creation, above_generation=above))
        assert renewed.generation > above
        await lossy(store.abandon(creation, uid="u1", name="n"))
        assert [entry.uid for entry in await lossy(store.doomed(10))] == ["u1"]
        assert await lossy(store.once("sweep", 60_000))
        assert not await store.once("sweep", 60_000)
        assert proxy.lost == 9


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
