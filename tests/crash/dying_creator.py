"""A process that acquires a thread and is killed at one point of it: run by test_creation.py.

Usage: dying_creator.py HOME THREAD before|after acquire|create|adopt|claim|commit
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from oneseek_sandbox.auth import Caller
from oneseek_sandbox.control.assembly import open_provisioner
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.models import AcquireRequest
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.settings import Settings
from oneseek_sandbox.workers.client import WorkerClient

STEPS = {
    "acquire": RedisLeaseStore,
    "create": LocalRuntime,
    "adopt": LocalRuntime,
    "claim": WorkerClient,
    "commit": RedisLeaseStore,
}


def die_at(moment, step):
    owner = STEPS[step]
    original = getattr(owner, step)

    async def dying(*args, **fields):
        if moment == "after":
            while True:
                try:
                    await original(*args, **fields)
                    break
                except Exception:  # noqa: BLE001 - a worker that is not ready yet is asked again
                    await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)

    setattr(owner, step, dying)


async def main(home, thread, moment, step):
    provisioner = await open_provisioner(Settings.model_validate({"home": home}))
    die_at(moment, step)
    await provisioner.acquire(AcquireRequest(thread_id=thread), Caller("test"))


asyncio.run(main(*sys.argv[1:]))
