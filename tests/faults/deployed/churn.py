"""A backend that needs a new sandbox all the time, and a cleanup that comes often."""

from __future__ import annotations

import asyncio

from tests.faults.live.traffic import WORKSPACE, Calls

__all__ = ["CHURNED", "churn", "clean_up"]

CHURNED = "churned"
_PAUSE_SECONDS = 0.05
_BETWEEN_CLEANUPS_SECONDS = 0.7


async def churn(calls: Calls, until: float) -> None:
    """Acquire, write, read, release, and again: most of it is the control plane's work."""
    clock, made, path = asyncio.get_running_loop().time, 0, f"{WORKSPACE}/churned"
    while clock() < until:
        made += 1
        acquired = await calls("acquire", CHURNED)
        if acquired.ok:
            await calls("write_file", CHURNED, path=path, content=f"churned-{made}")
            await calls("read_file", CHURNED, path=path)
            await calls("release", CHURNED)
        await asyncio.sleep(_PAUSE_SECONDS)


async def clean_up(calls: Calls, until: float) -> None:
    """Ask for a cleanup again and again."""
    clock = asyncio.get_running_loop().time
    while clock() < until:
        await calls("cleanup_idle", "")
        await asyncio.sleep(_BETWEEN_CLEANUPS_SECONDS)
