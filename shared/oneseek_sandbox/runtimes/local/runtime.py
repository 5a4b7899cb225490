"""Sandboxes on this machine: one bubblewrap each, outliving the server that started it."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import oneseek_sandbox
from oneseek_sandbox.clock import Clock, SystemClock
from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError
from oneseek_sandbox.runtimes.blocking import BlockingCalls
from oneseek_sandbox.runtimes.local import bwrap_program, host
from oneseek_sandbox.runtimes.local.bwrap_command import variants
from oneseek_sandbox.runtimes.local.records import Records
from oneseek_sandbox.runtimes.local.sandboxes import Sandboxes
from oneseek_sandbox.runtimes.local.self_test import no_bwrap, self_test
from oneseek_sandbox.runtimes.local.starter import Starter
from oneseek_sandbox.runtimes.runtime import Check

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from oneseek_sandbox.leases.store import Thread
    from oneseek_sandbox.runtimes.runtime import Labels, ObjectState, SandboxObject
    from oneseek_sandbox.settings import Settings

__all__ = ["WORKER_PROGRAM", "LocalRuntime"]

WORKER_PROGRAM = Path(oneseek_sandbox.__file__).parent / "guest" / "worker.py"

log = logging.getLogger(__name__)

_MEND_DISK = """\
Release sandboxes that are not needed (`oneseek-sandbox status` shows when each was used), delete what
else fills the disk, or give a larger one. docs/reliability.md has a section "Disk full"."""
_MEND_DAMAGED = """\
The records of these sandboxes cannot be understood, usually after a power cut. Their threads get
new sandboxes. The files are in the folder workspace/ of each; copy what is wanted, then delete the
folder. Nothing else deletes it."""

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


class LocalRuntime:
    """Keeps the promises of `Runtime` with the namespaces of this machine's kernel.

    Args:
        settings: `home` is where sandboxes are kept; several servers may share it.
        worker: Another worker program, for tests.
    """

    name = "local"

    def __init__(
        self, settings: Settings, *, worker: Path = WORKER_PROGRAM, clock: Clock | None = None
    ) -> None:
        self._settings = settings
        self._worker = worker
        self._clock = clock or SystemClock()
        self._blocking = BlockingCalls("local")
        self._opened: Sandboxes | None = None

    async def open(self) -> None:
        """Look at this machine and run the self-test; finish what a dead server left half done."""
        sandboxes, checks = await self._run(self._choose)
        failed = [check for check in checks if check.required and not check.passed]
        if sandboxes is None or failed:
            raise ConfigurationError(_refusal(failed))
        await self._run(sandboxes.finish_endings)
        self._opened = sandboxes

    def _choose(self) -> tuple[Sandboxes | None, list[Check]]:
        """Return the first way to make sandboxes that passes, or the first way and its failures."""
        home = self._settings.home.absolute()
        records = Records(home, open_to_pass=os.geteuid() == 0)
        records.prepare()
        first: tuple[Sandboxes | None, list[Check]] = (None, [no_bwrap()])
        for number, (bwrap, variant) in enumerate(variants(bwrap_program.bwrap_candidates())):
            starter = Starter(self._settings, bwrap, variant, programs=records.programs)
            sandboxes = Sandboxes(
                self._settings,
                records=records,
                starter=starter,
                sockets=host.socket_folder(home),
                worker=self._worker,
                clock=self._clock,
            )
            checks = self_test(sandboxes, self._settings, starter.controllers)
            if all(check.passed or not check.required for check in checks):
                return sandboxes, checks
            if number == 0:
                first = (sandboxes, checks)
        return first

    async def close(self) -> None:
        """Let calls that are under way end; sandboxes stay."""
        await self._blocking.close()
        with contextlib.suppress(OSError):
            host.socket_folder(self._settings.home.absolute()).rmdir()

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
        """Record that its worker was claimed.

        Raises:
            CreationLostError: It was taken over since.
            SandboxLostError: It is gone.
        """
        await self._run(self._sandboxes.mark_claimed, sandbox)

    async def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of a sandbox."""
        return await self._run(self._sandboxes.inspect, uid, name)

    async def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why a sandbox does not answer."""
        return await self._run(self._sandboxes.explain, uid, name)

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """End a sandbox and its files; see `Runtime.stop`."""
        call = functools.partial(self._sandboxes.stop, uid, name, generation)
        return await self._explained(self._blocking.end(call))

    async def maintain(self) -> None:
        """Finish stops that a server left half done."""
        await self._explained(self._blocking.end(self._sandboxes.finish_endings))
        for shortage in await self.shortages():
            log.warning("No new sandbox is made: %s", shortage)

    async def check(self) -> list[Check]:
        """Start a real sandbox and report what is isolated in it; also where `open` refuses."""
        with ThreadPoolExecutor(1) as thread:
            loop = asyncio.get_running_loop()
            sandboxes, checks = await loop.run_in_executor(thread, self._choose)
            damaged = await loop.run_in_executor(thread, sandboxes.damaged) if sandboxes else []
        shortages = await self.shortages()
        return [*checks, _judge_disk(shortages), _judge_records(damaged)]

    @property
    def _sandboxes(self) -> Sandboxes:
        if self._opened is None:
            raise RuntimeUnavailableError("The local runtime is not open yet.")
        return self._opened

    async def _run(
        self,
        function: Callable[_Arguments, _Result],
        *args: _Arguments.args,
        **kwargs: _Arguments.kwargs,
    ) -> _Result:
        call = functools.partial(function, *args, **kwargs)
        return await self._explained(self._blocking.run(call))

    async def _explained(self, call: Awaitable[_Result]) -> _Result:
        try:
            return await call
        except OSError as error:
            if self._opened is None:
                raise  # who starts a server reads the system's own words
            raise RuntimeUnavailableError.of_state(
                f"The sandboxes' state in {self._settings.home}", error
            ) from error

    async def shortages(self) -> Sequence[str]:
        """Say so when the disk has less left than a new sandbox needs."""
        shortage = host.disk_shortage(self._settings.home, self._settings.min_free_disk_mb)
        return [shortage] if shortage else []

    async def damaged(self) -> Sequence[str]:
        """Return where sandboxes were put whose records cannot be understood."""
        return [str(place) for place in await self._run(self._sandboxes.damaged)]

    async def list(self) -> list[SandboxObject]:
        """Return every sandbox of this home."""
        return await self._run(self._sandboxes.list)


def _judge_disk(shortages: Sequence[str]) -> Check:
    return Check(
        "disk has room",
        passed=not shortages,
        required=False,
        detail="; ".join(shortages),
        mend=_MEND_DISK if shortages else "",
    )


def _judge_records(damaged: list[Path]) -> Check:
    return Check(
        "records readable",
        passed=not damaged,
        required=False,
        detail=f"damaged: {', '.join(map(str, damaged))}" if damaged else "",
        mend=_MEND_DAMAGED if damaged else "",
    )


def _refusal(failed: list[Check]) -> str:
    lines = ["Sandboxes would not be isolated on this machine, so the server does not start:"]
    lines += [f"- {check.name}: {check.detail or 'it does not hold'}" for check in failed]
    mends = list(dict.fromkeys(check.mend for check in failed))
    return "\n".join([*lines, "What to do:", *mends])
