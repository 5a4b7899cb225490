"""Sandboxes as containers: what works on every machine with a Docker engine, macOS among them."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from oneseek_sandbox.auth import TokenKey
from oneseek_sandbox.clock import Clock, SystemClock
from oneseek_sandbox.errors import (
    ConfigurationError,
    RuntimeUnavailableError,
    SandboxError,
)
from oneseek_sandbox.runtimes.blocking import BlockingCalls
from oneseek_sandbox.runtimes.docker.engine import Engine, EngineRefusalError
from oneseek_sandbox.runtimes.docker.image import SandboxImage
from oneseek_sandbox.runtimes.docker.parts import Parts
from oneseek_sandbox.runtimes.docker.probe import probe
from oneseek_sandbox.runtimes.docker.records import Records
from oneseek_sandbox.runtimes.docker.sandboxes import Sandboxes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Check, Labels, ObjectState, SandboxObject
    from oneseek_sandbox.settings import Settings

__all__ = ["DockerRuntime"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class DockerRuntime:
    """Keeps the promises of `Runtime` with the containers of one engine.

    Servers with the same TOKEN_KEY share sandboxes; others on the same engine do not see them.

    Args:
        self_test: Whether `open` looks from inside a trial sandbox.
    """

    name = "docker"

    def __init__(
        self, settings: Settings, *, clock: Clock | None = None, self_test: bool = True
    ) -> None:
        self._settings = settings
        self._clock = clock or SystemClock()
        self._self_test = self_test
        realm = TokenKey.from_settings(settings).key_id
        self._engine = Engine()
        self._image = SandboxImage(settings, self._engine, self._clock)
        self._parts = Parts(settings, self._engine, self._image, realm=realm)
        self._sandboxes = Sandboxes(
            settings,
            self._engine,
            self._parts,
            Records(self._engine, realm),
            realm=realm,
            clock=self._clock,
        )
        self._blocking = BlockingCalls("docker")

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
            raise ConfigurationError(_refusal(failed))

    async def close(self) -> None:
        """Let calls that are under way end, and go of connections; sandboxes stay."""
        await self._blocking.close()
        self._parts.close()
        self._engine.close()

    async def find(self, thread: Thread) -> list[SandboxObject]:
        """Return the thread's sandboxes, newest generation first."""
        return await self._run(self._sandboxes.find, thread)

    async def create(self, labels: Labels) -> SandboxObject:
        """Start a sandbox; see `Runtime.create`. What a cancelled call still makes is ended."""

        async def end(made: SandboxObject) -> bool:
            # Unless a successor has labelled it as its own.
            return await self.stop(made.uid, made.name, generation=labels.generation)

        return await self._blocking.make(self._run(self._sandboxes.create, labels), end)

    async def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Take a found sandbox over; see `Runtime.adopt`."""
        return await self._run(self._sandboxes.adopt, sandbox, labels)

    async def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that its worker was claimed."""
        await self._run(self._sandboxes.mark_claimed, sandbox)

    async def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox."""
        return await self._run(self._sandboxes.inspect, uid, name)

    async def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why a sandbox does not answer."""
        return await self._run(self._sandboxes.explain, uid)

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """End a sandbox and its files; see `Runtime.stop`."""
        call = functools.partial(self._sandboxes.stop, uid, name, generation)
        return await _explained(self._blocking.end(call))

    async def maintain(self) -> None:
        """Finish what a server left half done, and drop images of other versions."""
        await _explained(self._blocking.end(self._sandboxes.finish_endings))
        await _explained(self._blocking.end(self._image.remove_old))

    async def check(self) -> list[Check]:
        """Start two trial sandboxes and report what is closed to one of them."""
        await self._run(self._engine.open)
        return await self._run(
            probe, self._settings, self._engine, self._parts, now_ms=self._clock.now_ms()
        )

    async def _run(
        self,
        function: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        call = functools.partial(function, *args, **kwargs)
        return await _explained(self._blocking.run(call))

    # Last, because it hides the type of the same name from what follows.
    async def shortages(self) -> Sequence[str]:
        """Return nothing: only a creation finds out."""
        return ()

    async def damaged(self) -> Sequence[str]:
        """Return nothing: records are the engine's own."""
        return ()

    async def list(self) -> list[SandboxObject]:
        """Return every sandbox of this realm."""
        return await self._run(self._sandboxes.list)


async def _explained(call: Awaitable[_Result]) -> _Result:
    try:
        return await call
    except EngineRefusalError as error:
        raise RuntimeUnavailableError(
            f"The Docker engine refuses ({error.status}): {error.message.strip()}"
        ) from error


def _refusal(failed: Sequence[Check]) -> str:
    lines = ["Sandboxes would not be isolated on this engine, so the server does not start:"]
    lines += [f"- {check.name}: {check.detail or 'it does not hold'}" for check in failed]
    mends = list(dict.fromkeys(check.mend for check in failed))
    return "\n".join([*lines, "What to do:", *mends])
