"""A backend as a process: acquires the thread of its argument, notes a run, and waits to be ended."""

from __future__ import annotations

import asyncio
import sys

from oneseek_sandbox.client import BackendSettings, ThreadSandbox, connect


async def main():
    async with connect(BackendSettings.from_environment()) as sandboxes:
        thread = ThreadSandbox(sandboxes, sys.argv[1])
        acquired = await thread.acquire()
        await thread.execute("echo run >> runs")
        print(acquired.model_dump_json(), flush=True)
        await asyncio.Event().wait()


asyncio.run(main())
