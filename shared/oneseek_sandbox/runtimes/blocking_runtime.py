"""What the runtimes share whose calls block: each method of the port, carried to a thread."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar

from oneseek_sandbox.runtimes.blocking import BlockingCalls

if TYPE_CHECKING:
    import builtins
    from collections.abc import Awaitable, Callable, Sequence
    from contextlib import AbstractContextManager

    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Check, Labels, ObjectState, SandboxObject

__all__ = ["BlockingRuntime", "BlockingSandboxes", "refusal_to_start"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class BlockingSandboxes(Protocol):
    """Half of the `Runtime` port, for threads; its docstrings say what each method promises."""

    def find(self, thread: Thread) -> builtins.list[SandboxObject]:
        """Return the thread's sandboxes, newest generation first."""
        ...

    def create(self, labels: Labels) -> SandboxObject:
        """Start a sandbox."""
        ...

    def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Label a found sandbox anew."""
        ...

    def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that its worker was claimed."""
        ...

    def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a sandbox."""
        ...

    def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox."""
        ...

    def explain(self, uid: str, name: str) -> str:
        """Say why a sandbox does not answer."""
        ...

    def stop(self, uid: str, name: str, generation: int | None = None) -> bool:
        """End a sandbox and its files."""
        ...

    def list(self) -> builtins.list[SandboxObject]:
        """Return every sandbox."""
        ...


class BlockingRuntime(ABC):
    """The half of a `Runtime` that is one blocking call each, over a `BlockingSandboxes`."""

    name: str

    def __init__(self) -> None:
        self._blocking = BlockingCalls(self.name)

    async def find(self, thread: Thread) -> builtins.list[SandboxObject]:
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
        """Record that its worker was claimed; see `Runtime.mark_claimed`."""
        await self._run(self._sandboxes.mark_claimed, sandbox)

    async def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write what acquires have given on a sandbox; see `Runtime.annotate`."""
        await self._run(self._sandboxes.annotate, uid, name, labels)

    async def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox."""
        return await self._run(self._sandboxes.inspect, uid, name)

    async def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why a sandbox does not answer."""
        return await self._run(self._sandboxes.explain, uid, name)

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """End a sandbox and its files; see `Runtime.stop`."""
        return await self._end(self._sandboxes.stop, uid, name, generation)

    async def list(self) -> builtins.list[SandboxObject]:
        """Return every sandbox that is not ending."""
        return await self._run(self._sandboxes.list)

    @property
    @abstractmethod
    def _sandboxes(self) -> BlockingSandboxes:
        """What does the work, in threads."""

    @abstractmethod
    def _translated(self) -> AbstractContextManager[None]:
        """Raise what went wrong below as an error of the port."""

    async def _run(
        self,
        function: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        call = functools.partial(function, *args, **kwargs)
        return await self._awaited(self._blocking.run(call))

    async def _end(
        self,
        function: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        """Run a call that deletes, in one of the threads for that."""
        call = functools.partial(function, *args, **kwargs)
        return await self._awaited(self._blocking.end(call))

    async def _awaited(self, call: Awaitable[_Result]) -> _Result:
        with self._translated():
            return await call


def refusal_to_start(where: str, failed: Sequence[Check]) -> str:
    """Return why a server does not start: the checks that failed, and what to do about them."""
    lines = [f"Sandboxes would not be isolated on this {where}, so the server does not start:"]
    lines += [f"- {check.name}: {check.detail or 'the check failed'}" for check in failed]
    fixes = list(dict.fromkeys(check.fix for check in failed))
    return "\n".join([*lines, "What to do:", *fixes])
