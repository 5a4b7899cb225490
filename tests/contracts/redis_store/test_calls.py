"""Calls to a store in Redis: races between processes, notices, and lost answers."""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from pathlib import Path

import pytest

from oneseek_sandbox.leases.store import Creation, Thread
from oneseek_sandbox.testing.leases import LONG, begin, make_ready, placement

THREAD = Thread("tenant", "thread")
RACER = Path(__file__).parents[1] / "racing_acquirer.py"


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
