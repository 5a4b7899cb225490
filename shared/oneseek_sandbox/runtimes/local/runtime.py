"""Sandboxes on this machine: one bubblewrap each, outliving the server that started it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from oneseek_sandbox.clock import Clock, SystemClock
from oneseek_sandbox.errors import ConfigurationError, RuntimeUnavailableError
from oneseek_sandbox.guest.bundle import bundle
from oneseek_sandbox.runtimes.blocking_runtime import BlockingRuntime, refusal_to_start
from oneseek_sandbox.runtimes.local import bwrap_program, host
from oneseek_sandbox.runtimes.local.bwrap_command import variants
from oneseek_sandbox.runtimes.local.records import Records
from oneseek_sandbox.runtimes.local.sandboxes import Sandboxes
from oneseek_sandbox.runtimes.local.self_test import no_bwrap, self_test
from oneseek_sandbox.runtimes.local.starter import Starter
from oneseek_sandbox.runtimes.runtime import Check

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from oneseek_sandbox.settings import Settings

__all__ = ["LocalRuntime"]

log = logging.getLogger(__name__)

_FIX_DISK = """\
Release sandboxes that are not needed (`oneseek-sandbox status` shows when each was used), delete other
files, or use a larger disk. docs/reliability.md has a section "Disk full"."""
_FIX_DAMAGED = """\
The records of these sandboxes are damaged, usually by a power cut. Their threads get new
sandboxes. The files are in the folder workspace/ of each; copy what you need, then delete the
folder. Nothing deletes it automatically."""


class LocalRuntime(BlockingRuntime):
    """Keeps the promises of `Runtime` with the namespaces of this machine's kernel.

    Args:
        settings: `home` is where sandboxes are kept; several servers may share it.
        worker: The source of another worker, for tests.
    """

    name = "local"

    def __init__(
        self, settings: Settings, *, worker: bytes | None = None, clock: Clock | None = None
    ) -> None:
        super().__init__()
        self._settings = settings
        self._worker = worker or bundle("worker")
        self._clock = clock or SystemClock()
        self._opened: Sandboxes | None = None

    async def open(self) -> None:
        """Look at this machine and run the self-test; finish what a dead server left half done."""
        sandboxes, checks = await self._run(self._choose)
        failed = [check for check in checks if check.required and not check.passed]
        if sandboxes is None or failed:
            raise ConfigurationError(refusal_to_start("machine", failed))
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

    async def maintain(self) -> None:
        """Finish stops that a server left half done."""
        await self._end(self._sandboxes.finish_endings)
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

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
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


def _judge_disk(shortages: Sequence[str]) -> Check:
    return Check(
        "disk has room",
        passed=not shortages,
        required=False,
        detail="; ".join(shortages),
        fix=_FIX_DISK if shortages else "",
    )


def _judge_records(damaged: list[Path]) -> Check:
    return Check(
        "records readable",
        passed=not damaged,
        required=False,
        detail=f"damaged: {', '.join(map(str, damaged))}" if damaged else "",
        fix=_FIX_DAMAGED if damaged else "",
    )
