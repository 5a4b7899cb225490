"""A process that keeps a lease in a file, and is killed while it keeps a second one.

Usage: dying_writer.py HOME before|half|after lock|write|sync|replace|sync-folder|unlock
       dying_writer.py HOME never never

Prints the sandbox_id of each lease that was kept; `never` keeps leases until it is killed.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import signal
import stat
import sys
from pathlib import Path

from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.store import LeaseTerms, Thread
from oneseek_sandbox.testing.leases import placement

TERMS = LeaseTerms(creation_ms=60_000, idle_ms=60_000)
STEPS = {
    "lock": (fcntl, "flock", lambda _, how: how & fcntl.LOCK_EX),
    "write": (os, "write", lambda *_: True),
    "sync": (os, "fsync", lambda file: not stat.S_ISDIR(os.fstat(file).st_mode)),
    "replace": (os, "replace", lambda *_: True),
    "sync-folder": (os, "fsync", lambda file: stat.S_ISDIR(os.fstat(file).st_mode)),
    "unlock": (fcntl, "flock", lambda _, how: how & fcntl.LOCK_UN),
}


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(moment, step):
    module, name, is_meant = STEPS[step]
    original = getattr(module, name)

    def dying(*args):
        if not is_meant(*args):
            return original(*args)
        if moment == "half":
            descriptor, data = args
            original(descriptor, data[: len(data) // 2])
        if moment == "after":
            original(*args)
        return die()

    setattr(module, name, dying)


async def keep(store, thread_id, uid):
    thread = Thread("tenant", thread_id)
    creation = await store.acquire(thread, attempt=secrets.token_hex(8))
    lease = await store.commit(creation, placement(uid))
    print(lease.sandbox_id, flush=True)


async def main(home, moment, step):
    store = FileLeaseStore(Path(home), TERMS)
    await store.open()
    if step == "never":
        while True:
            await keep(store, secrets.token_hex(8), secrets.token_hex(8))
    await keep(store, "first", "u1")
    die_at(moment, step)
    await store.acquire(Thread("tenant", "second"), attempt="a")


asyncio.run(main(*sys.argv[1:]))
