"""The sandboxes of the evals of one event loop: opened with the first, closed with the last."""

from __future__ import annotations

import asyncio
import weakref
from typing import TYPE_CHECKING

from oneseek_sandbox.client.opening import connect
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.errors import ConfigurationError

if TYPE_CHECKING:
    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["Connection"]


class Connection:
    """Sandboxes as the `SANDBOX_*` variables say, shared by tasks and samples.

    Inspect tells a provider of the beginning and the end of a batch for each of its configurations,
    and of the samples between; samples may also bring a configuration that no batch began with, and
    stay when nothing is to be cleaned up. So both are counted.
    """

    def __init__(self) -> None:
        self._sandboxes: Sandboxes | None = None
        self._opening = asyncio.Lock()
        self._batches = 0
        self._samples = 0

    @classmethod
    def of_this_loop(cls) -> Connection:
        """Return the one that belongs to the event loop that is running.

        Raises:
            ConfigurationError: None of asyncio is running.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(
                "Sandboxes of oneseek work with Inspect's asyncio backend only; unset "
                "INSPECT_ASYNC_BACKEND."
            ) from None
        return _CONNECTIONS.setdefault(loop, cls())

    async def sandboxes(self) -> Sandboxes:
        """Return the sandboxes, which are open then."""
        async with self._opening:
            if self._sandboxes is None:
                sandboxes = connect(BackendSettings.from_environment())
                await sandboxes.open()
                self._sandboxes = sandboxes
            return self._sandboxes

    async def begin(self) -> None:
        """Count a batch, and see that its sandboxes can be had."""
        await self.sandboxes()
        self._batches += 1

    async def end(self) -> None:
        """Count a batch off; with the last of all everything is closed."""
        self._batches = max(self._batches - 1, 0)
        if not self._batches:
            self._samples = 0
            await self._close()

    async def enter(self) -> Sandboxes:
        """Count a sample, and return the sandboxes."""
        sandboxes = await self.sandboxes()
        self._samples += 1
        return sandboxes

    async def leave(self) -> None:
        """Count a sample off."""
        self._samples = max(self._samples - 1, 0)
        if not self._batches and not self._samples:
            await self._close()

    async def _close(self) -> None:
        sandboxes, self._sandboxes = self._sandboxes, None
        if sandboxes is not None:
            await sandboxes.close()


_CONNECTIONS: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, Connection] = (
    weakref.WeakKeyDictionary()
)
