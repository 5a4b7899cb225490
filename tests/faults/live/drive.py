"""Runs one schedule on a system of its own, from its start until nothing is left, and judges it."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path

import redis
from tests.faults.checker import check
from tests.faults.history import History, Recorder
from tests.faults.live.calm import SYNCED, Calm
from tests.faults.live.injection import Injection
from tests.faults.live.judge import look_again
from tests.faults.live.outside import seen_sandboxes
from tests.faults.live.parts import KEY
from tests.faults.live.schedule import Schedule
from tests.faults.live.system import System
from tests.faults.live.traffic import THREADS, Calls, callers

from oneseek_sandbox.leases.embedded import EmbeddedServer

__all__ = ["Run", "run_schedule"]

_IDLE_MS = 900_000  # the servers' default: nothing expires in a schedule
_CALM_SECONDS = 30.0
_GONE_SECONDS = 25.0
_PAUSE_SECONDS = 0.1


@dataclass(slots=True)
class Run:
    """What came of a schedule.

    Attributes:
        findings: What the checker, or a look from outside, has against the system.
        done: How often each kind of fault found something to hit.
        seconds: How long each phase took.
    """

    schedule: Schedule
    history: History
    findings: list[str] = field(default_factory=list)
    done: Counter[str] = field(default_factory=Counter)
    seconds: dict[str, float] = field(default_factory=dict)


async def run_schedule(schedule: Schedule, *, planted: str = "", keep: Path | None = None) -> Run:
    """Run it.

    Args:
        planted: A defect for the gateways to work with.
        keep: Where history and logs of a run with findings are put, in a folder of its seed.
    """
    name = f"schedule-{schedule.seed}-"
    with tempfile.TemporaryDirectory(prefix=name, ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)  # sandboxes' own users pass here
        return await _run_in(Path(folder), schedule, planted, keep)


async def _run_in(folder: Path, schedule: Schedule, planted: str, keep: Path | None) -> Run:
    begin = time.monotonic()
    recorder = Recorder(
        lambda: (time.monotonic() - begin) * 1000,
        seed=schedule.seed,
        idle_ms=_IDLE_MS,
        slack_ms=1_000,
        schedule=str(schedule),
        planted=planted,
    )
    driver = _Driver(System(schedule, folder, planted), recorder)
    try:
        await driver.run()
    except Exception as error:  # noqa: BLE001 - what stops a run is told with its seed
        driver.findings.append(f"stopped: {type(error).__name__}: {error}")
    finally:
        await driver.phase("remove", driver.system.remove())
    history = recorder.history()
    findings = driver.findings + [str(finding) for finding in check(history)] + look_again(history)
    run = Run(schedule, history, findings, driver.done, driver.seconds)
    if findings and keep is not None:
        _keep(run, folder, keep / f"seed-{schedule.seed}")
    return run


def _keep(run: Run, folder: Path, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    run.history.write(to / "history.jsonl")
    (to / "findings.txt").write_text("\n".join([str(run.schedule), *run.findings]) + "\n")
    for log in folder.glob("*.log"):
        shutil.copy(log, to)


class _Driver:
    """The phases of a run."""

    def __init__(self, system: System, recorder: Recorder) -> None:
        self.system, self._recorder = system, recorder
        headers = {"authorization": f"Bearer {KEY}"}
        # After a loss of power the system has another log.
        self._calls = Calls(
            recorder,
            system.address,
            headers,
            on_given=lambda sandbox_id: self.system.log.begin(sandbox_id),
        )
        self._injection = Injection(system, recorder, self._calls)
        self._calm = Calm(self._calls, _CALM_SECONDS)
        self.findings = self._calm.findings
        self.seconds: dict[str, float] = {}

    @property
    def done(self) -> Counter[str]:
        return self._injection.done

    async def phase(self, name: str, work: Awaitable[None]) -> None:
        """Do a part of the run, and note how long it took."""
        begin = time.monotonic()
        try:
            await work
        finally:
            self.seconds[name] = time.monotonic() - begin

    async def run(self) -> None:
        """Start, break, heal, look at what is there, and at what is left."""
        try:
            await self.phase("start", self.system.start())
            await self.phase("traffic", self._traffic())
            if self.system.schedule.home == "power cut":
                await self.phase("power", self._power_cut())
            await self.phase("heal", self.system.heal())
            await self.phase("settle", self._settle_all())
            await self.phase("end", self._end_all())
        finally:
            await self._calls.close()
        await self.phase("stop", self._stop())

    async def _settle_all(self) -> None:
        await asyncio.gather(*(self._calm.settle(thread) for thread in THREADS))
        await asyncio.to_thread(self._look_at_sandboxes)

    async def _end_all(self) -> None:
        await asyncio.gather(*(self._calm.end(thread) for thread in THREADS))
        await self._until_gone()
        for request_id, count in self.system.log.counts().items():
            for _ in range(count):
                self._recorder.ran(request_id)
        await asyncio.to_thread(self._look_at_keys)

    async def _stop(self) -> None:
        for name, status in (await self.system.stop()).items():
            self.findings.append(f"stop: {name} ended with {status}")

    async def _traffic(self) -> None:
        schedule = self.system.schedule
        until = asyncio.get_running_loop().time() + schedule.traffic_ms / 1000
        work = [caller.work(until) for caller in callers(self._calls, schedule.seed)]
        await asyncio.gather(self._injection.run(schedule.steps), *work)

    async def _power_cut(self) -> None:
        for thread in THREADS:
            # As far as the faults of before let it; the judge looks at what was answered.
            await self._calls("acquire", thread)
            await self._calls("write_file", thread, path=SYNCED, content=f"synced-{thread}")
            await self._calls("execute", thread, command=f"sync {SYNCED}")
        for thread in THREADS:
            self._recorder.fault("worker_died", thread=thread, kind="power_cut")
        self._recorder.fault("power_cut")
        # Of the store, what it wrote in the last seconds was not on the disk.
        self._recorder.fault("store_rolled_back", back_ms=1000 * sum(self.seconds.values()))
        self.done["power_cut"] += 1
        await self.system.lose_power()

    def _look_at_sandboxes(self) -> None:
        for thread in THREADS:
            live = [s.name for s in seen_sandboxes(self.system.home, thread) if s.first]
            self._recorder.sandboxes(thread, live)

    async def _until_gone(self) -> None:
        """Wait until all is gone that was released; whatever is not is a finding."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _GONE_SECONDS
        await asyncio.to_thread(self.system.log.let_time_pass)
        while left := await asyncio.to_thread(self.system.log.left):
            if clock() > deadline:
                break
            await self._calls("cleanup_idle", "")
            await asyncio.sleep(_PAUSE_SECONDS)
        for thing in left:
            what, _, name = thing.partition(" ")
            self._recorder.left(what, name)

    def _look_at_keys(self) -> None:
        """Nothing but what is remembered of ended sandboxes may be in the store."""
        if self.system.schedule.store != "valkey":
            return
        with redis.Redis.from_url(EmbeddedServer.ensure(self.system.home)) as store:
            for key in sorted(key.decode() for key in store.keys("*")):
                kind = key.partition("}:")[2].partition(":")[0]
                if kind in ("lease", "pins", "live", "doomed", "doomed-entries"):
                    self._recorder.left("key", key)
