"""Sandboxes as containers: what works on every machine with a Docker engine, macOS among them."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.clock import Clock, SystemClock
from oneseek_sandbox.errors import (
    ConfigurationError,
    RuntimeUnavailableError,
    SandboxError,
)
from oneseek_sandbox.runtimes.blocking_runtime import BlockingRuntime, refusal_to_start
from oneseek_sandbox.runtimes.docker.engine import Engine, EngineRefusalError
from oneseek_sandbox.runtimes.docker.image import SandboxImage
from oneseek_sandbox.runtimes.docker.probe import probe
from oneseek_sandbox.runtimes.docker.records import Records
from oneseek_sandbox.runtimes.docker.resources import SandboxResources
from oneseek_sandbox.runtimes.docker.sandboxes import Sandboxes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from oneseek_sandbox.runtimes.runtime import Check
    from oneseek_sandbox.settings import Settings

__all__ = ["DockerRuntime"]


class DockerRuntime(BlockingRuntime):
    """Keeps the promises of `Runtime` with the containers of one engine.

    Servers with the same TOKEN_KEY share sandboxes; others on the same engine do not see them.

    Args:
        self_test: Whether `open` looks from inside a trial sandbox.
    """

    name = "docker"

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, self_test: bool = True
    ) -> None:
        super().__init__()
        self._settings = settings
        self._clock = clock or SystemClock()
        self._self_test = self_test
        key_id = TokenKey.from_settings(settings).key_id
        self._engine = Engine()
        self._image = SandboxImage(settings, self._engine, self._clock)
        self._resources = SandboxResources(settings, self._engine, self._image, key_id=key_id)
        self._containers = Sandboxes(
            settings,
            self._engine,
            self._resources,
            Records(self._engine, key_id),
            key_id=key_id,
            clock=self._clock,
        )

    async def open(self) -> None:
        """Find the engine, and refuse it where sandboxes would not be isolated."""
        try:
            await self._run(self._engine.open)
        except RuntimeUnavailableError as error:
            raise ConfigurationError(error.message) from error
        if not self._self_test:
            return
        try:
            checks = await self.check()
        except SandboxError as error:
            raise ConfigurationError(error.message) from error
        failed = [check for check in checks if check.required and not check.passed]
        if failed:
            raise ConfigurationError(refusal_to_start("engine", failed))

    async def close(self) -> None:
        """Let calls that are under way end, and go of connections; sandboxes stay."""
        await self._blocking.close()
        self._resources.close()
        self._engine.close()

    async def maintain(self) -> None:
        """Finish what a server left half done, and drop images of other versions."""
        await self._end(self._containers.finish_endings)
        await self._end(self._image.remove_old)

    async def check(self) -> list[Check]:
        """Start two trial sandboxes and report what is closed to one of them."""
        await self._run(self._engine.open)
        return await self._run(
            probe, self._settings, self._engine, self._resources, now_ms=self._clock.now_ms()
        )

    async def shortages(self) -> Sequence[str]:
        """Return nothing: only a creation finds out."""
        return ()

    async def damaged(self) -> Sequence[str]:
        """Return nothing: records are the engine's own."""
        return ()

    @property
    def _sandboxes(self) -> Sandboxes:
        return self._containers

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except EngineRefusalError as error:
            raise RuntimeUnavailableError(
                f"The Docker engine refuses ({error.status}): {error.message.strip()}"
            ) from error
