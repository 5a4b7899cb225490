"""An upload into which the sandbox takes nothing for a while goes on when it takes again."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import TYPE_CHECKING

import pytest
from tests.guest.client import TOKEN

from oneseek_sandbox.leases.store import Lease, Placement, Thread
from oneseek_sandbox.testing.server import free_port
from oneseek_sandbox.workers.client import WorkerClient, WorkerNotReadyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from tests.guest.client import WorkerProcess

PIECE = 1 << 20
PIECES = 24  # more than the kernels on both sides hold
PAUSE_SECONDS = 12


@pytest.mark.finding(22)
async def test_uploads_outlive_a_pause_of_their_sandbox(
    start: Callable[..., WorkerProcess],
) -> None:
    async with asyncio.TaskGroup() as uploads:  # at once: each waits for most of its time
        uploads.create_task(an_upload_outlives_a_pause(start, streamed=True))
        uploads.create_task(an_upload_outlives_a_pause(start, streamed=False))


async def an_upload_outlives_a_pause(
    start: Callable[..., WorkerProcess], *, streamed: bool
) -> None:
    address = f"127.0.0.1:{free_port()}"
    process = start(listen=address)
    workers = WorkerClient()
    while True:
        try:
            claimed = await workers.claim(
                f"tcp:{address}", token=TOKEN, generation=1, idle_ms=900_000
            )
            break
        except WorkerNotReadyError:
            await asyncio.sleep(0.05)
    placement = Placement("u", "n", f"tcp:{address}", TOKEN, "k", claimed.boot_id)
    lease = Lease(Thread("s", "t"), "0" * 32, 1, "ready", placement, 1, 1, 1, 1)
    pid = process.worker_pid

    def pause() -> None:
        os.kill(pid, signal.SIGSTOP)
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, os.kill, pid, signal.SIGCONT)

    async def pieces() -> AsyncIterator[bytes]:
        yield bytes(PIECE)
        pause()
        for _ in range(PIECES - 1):
            yield bytes(PIECE)

    path = {"path": f"{process.workspace}/file"}
    try:
        if streamed:
            written = await workers.write(lease, path, pieces())
        else:
            await workers.health(lease)  # the connection is there
            pause()
            written = await workers.write(lease, path, bytes(PIECE * PIECES))
        assert written.size == PIECE * PIECES
    finally:
        os.kill(pid, signal.SIGCONT)
        await workers.close()
