"""Acquires 50 times at once, from two OS threads, when told to: run by the race tests.

Usage: racing_acquirer.py THREADS redis URL PREFIX
       racing_acquirer.py THREADS file HOME

Takes turns among so many conversation threads. Prints `ready`, waits for a line, prints the outcomes
as `THREAD:KIND`.
"""

from __future__ import annotations

import asyncio
import secrets
import sys
import threading
from pathlib import Path

from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.store import LeaseTerms, Thread

THREADS, TASKS = 2, 25
TERMS = LeaseTerms(creation_ms=60_000)
STORES = {
    "redis": lambda url, prefix: RedisLeaseStore(url, TERMS, prefix),
    "file": lambda home: FileLeaseStore(Path(home), TERMS),
}


async def race(threads, new_store, barrier, outcomes):
    store = new_store()
    await store.open()
    await asyncio.to_thread(barrier.wait)
    await asyncio.to_thread(barrier.wait)
    names = [str(number % threads) for number in range(TASKS)]
    found = await asyncio.gather(
        *(store.acquire(Thread("race", name), attempt=secrets.token_hex(8)) for name in names)
    )
    kinds = [type(outcome).__name__ for outcome in found]
    outcomes += [f"{name}:{kind}" for name, kind in zip(names, kinds, strict=True)]
    await store.close()


def main(count, kind, *where):
    barrier, outcomes = threading.Barrier(THREADS + 1), []
    work = (int(count), lambda: STORES[kind](*where), barrier, outcomes)
    threads = [threading.Thread(target=lambda: asyncio.run(race(*work))) for _ in range(THREADS)]
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
