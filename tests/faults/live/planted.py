"""Defects to work with, one for some promises: the harness must find each (`test_planted.py`).

`gateway.py` plants one into its own process, so that nothing of the product is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from typing import Any

from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.runtimes.local.runtime import LocalRuntime
from oneseek_sandbox.workers.client import WorkerClient
from oneseek_sandbox.workers.replies import Written

__all__ = ["DEFECTS", "plant"]


def _written_nowhere() -> None:
    """A write is answered and not done."""

    async def write(self: WorkerClient, lease: object, meta: object, content: bytes) -> Written:
        digest = hashlib.sha256(content).hexdigest()
        return Written(size=len(content), sha256=digest, created=True)

    WorkerClient.write = write


def _run_twice() -> None:
    """A command is run once more under another id, as if its answer had been lost."""
    execute = WorkerClient.execute

    async def twice(
        self: WorkerClient, lease: object, request: dict[str, Any], **options: Any
    ) -> Any:
        if request["request_id"]:
            again = {**request, "request_id": secrets.token_hex(8)}
            async with contextlib.aclosing(execute(self, lease, again, **options)) as events:
                async for _ in events:
                    pass
        async with contextlib.aclosing(execute(self, lease, request, **options)) as events:
            async for event in events:
                yield event

    WorkerClient.execute = twice


def _left_behind() -> None:
    """A sandbox is said to be gone, and lives on."""

    async def stop(
        self: LocalRuntime, uid: str, name: str, *, generation: int | None = None
    ) -> bool:
        return True

    LocalRuntime.stop = stop


def _called_lost() -> None:
    """A sandbox that stopped and could be started again is called gone."""
    inspect = LocalRuntime.inspect

    async def hasty(self: LocalRuntime, uid: str, name: str) -> str:
        state = await inspect(self, uid, name)
        return "gone" if state == "stopped" else state

    LocalRuntime.inspect = hasty


def _not_fenced() -> None:
    """A call by the id of an earlier sandbox reaches the thread's present one."""
    pin = RedisLeaseStore.pin

    async def any_pin(self: RedisLeaseStore, thread: object, **named: Any) -> Any:
        return await pin(self, thread, **{**named, "sandbox_id": None})

    RedisLeaseStore.pin = any_pin


DEFECTS = {
    "written nowhere": _written_nowhere,
    "run twice": _run_twice,
    "left behind": _left_behind,
    "called lost": _called_lost,
    "not fenced": _not_fenced,
}


def plant(name: str) -> None:
    """Work with a defect from now on, in this process."""
    DEFECTS[name]()
