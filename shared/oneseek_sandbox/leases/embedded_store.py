"""The lease store in the embedded server, which takes writes on a full disk too."""

from __future__ import annotations

import asyncio
import functools
import os
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from oneseek_sandbox.lasting import cut
from oneseek_sandbox.leases.embedded import EmbeddedServer
from oneseek_sandbox.leases.redis import RedisLeaseStore
from oneseek_sandbox.leases.reserve import RESERVE_BYTES, Reserve, allocate_ahead

if TYPE_CHECKING:
    from pathlib import Path

    from oneseek_sandbox.leases.store import LeaseTerms

__all__ = ["EmbeddedLeaseStore", "keep_room"]

_LOOK_SECONDS: Final = 2.0
_AHEAD_BYTES: Final = 16 * 1024**2
"""Of the log, about 50,000 transitions."""
_LOG: Final = re.compile(r"appendonly\.aof\.(\d+)\.incr\.aof")


class EmbeddedLeaseStore(RedisLeaseStore):
    """Starts the server of a home when it is needed, and keeps room for its log.

    Args:
        home: State folder.
    """

    def __init__(self, home: Path, terms: LeaseTerms, prefix: str) -> None:
        ensure = functools.partial(EmbeddedServer.ensure, home)
        super().__init__(
            ensure(),
            terms,
            prefix,
            revive=functools.partial(asyncio.to_thread, ensure),
            # Who wants to stop the server is told which processes use it.
            name=f"oneseek-sandbox-{os.getpid()}",
        )
        self._home = home
        self._keeping: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Connect, and begin to keep room."""
        await super().open()
        await asyncio.to_thread(keep_room, self._home)
        self._keeping = asyncio.create_task(self._keep())

    async def close(self) -> None:
        """Close all connections; the server stays."""
        if self._keeping is not None:
            await cut(self._keeping)
        await super().close()

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await asyncio.to_thread(keep_room, self._home)


def keep_room(home: Path) -> None:
    """Allocate what the server's log will need next; the home's reserve is there for that, too."""
    reserve = Reserve(home)
    with suppress(OSError):
        logs = [
            (int(match[1]), path)
            for path in (home / "redis" / "appendonlydir").iterdir()
            if (match := _LOG.fullmatch(path.name))
        ]
        if logs and not allocate_ahead(max(logs)[1], _AHEAD_BYTES):
            # Where even this is not enough, the server itself finds room as it tries again.
            if reserve.give_up():
                allocate_ahead(max(logs)[1], RESERVE_BYTES)
            return
    reserve.take()
