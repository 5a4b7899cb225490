"""Acquires one thread 50 times at once, from two threads, when told to: run by the race test.

Usage: racing_acquirer.py URL PREFIX; prints `ready`, waits for a line, prints the kinds of outcome.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading

from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import LeaseTerms, Thread

THREADS, TASKS = 2, 25


async def race(url, prefix, barrier, outcomes):
    store = RedisLeaseStore(url, LeaseTerms(creation_ms=60_000), prefix)
    await store.open()
    await asyncio.to_thread(barrier.wait)
    await asyncio.to_thread(barrier.wait)
    found = await asyncio.gather(
        *(store.acquire(Thread("race", "one"), attempt=secrets.token_hex(8)) for _ in range(TASKS))
    )
    outcomes += [type(outcome).__name__ for outcome in found]
    await store.close()


def main(url, prefix):
    barrier, outcomes = threading.Barrier(THREADS + 1), []
    threads = [
        threading.Thread(target=lambda: asyncio.run(race(url, prefix, barrier, outcomes)))
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    barrier.wait()
    print("ready", flush=True)
    sys.stdin.readline()
    barrier.wait()
    for thread in threads:
        thread.join()
    print(*outcomes)


main(*sys.argv[1:])
