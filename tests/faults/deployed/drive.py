"""Runs one schedule on the deployment, until nothing is left of its threads, and judges it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable
from pathlib import Path

from tests.e2e import cluster
from tests.faults.checker import check
from tests.faults.deployed.api_proxy import ApiProxy
from tests.faults.deployed.churn import CHURNED, churn, clean_up
from tests.faults.deployed.injection import Injection
from tests.faults.deployed.outside import Deployment, RunLog
from tests.faults.deployed.schedule import Schedule
from tests.faults.history import Recorder
from tests.faults.live.calm import Calm
from tests.faults.live.drive import Run
from tests.faults.live.judge import look_again
from tests.faults.live.traffic import THREADS, Calls, callers

from oneseek_sandbox.runtimes.kubernetes.api import KubernetesApi

__all__ = ["Entry", "run_schedule"]

_IDLE_MS = 900_000  # the deployment's default: nothing expires in a schedule
_CALM_SECONDS = 120.0
_GONE_SECONDS = 90.0
_HANG_SECONDS = 200.0
_PAUSE_SECONDS = 0.3


class Entry:
    """How backends reach the deployment.

    Args:
        url: Base URL of the public route, as it is reached from here.
        headers: Of every call.
    """

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self.url, self.headers = url, headers


async def run_schedule(
    schedule: Schedule, entry: Entry, proxy: ApiProxy, *, prefix: str, keep: Path | None = None
) -> Run:
    """Run it.

    Args:
        prefix: Of its threads' names, for this run alone.
        keep: Where history and logs of a run with findings are put, in a folder of its seed.
    """
    begin = time.monotonic()
    recorder = Recorder(
        lambda: (time.monotonic() - begin) * 1000,
        seed=schedule.seed,
        idle_ms=_IDLE_MS,
        slack_ms=1_000,
        schedule=str(schedule),
    )
    api = KubernetesApi()
    driver = _Driver(schedule, entry, proxy, Deployment(api, prefix), recorder)
    try:
        await driver.run()
    except Exception as error:  # noqa: BLE001 - what stops a run is told with its seed
        driver.findings.append(f"stopped: {type(error).__name__}: {error}")
    finally:
        await api.close()
    history = recorder.history()
    findings = driver.findings + [str(finding) for finding in check(history)] + look_again(history)
    run = Run(schedule, history, findings, driver.injection.done, driver.seconds)
    if findings and keep is not None:
        await asyncio.to_thread(_keep, run, keep / f"seed-{schedule.seed}")
    return run


def _keep(run: Run, to: Path) -> None:
    to.mkdir(parents=True, exist_ok=True)
    run.history.write(to / "history.jsonl")
    (to / "findings.txt").write_text("\n".join([str(run.schedule), *run.findings]) + "\n")
    for verb in ("acquire", "release", "cleanup_idle", "execute"):
        selector = f"serving.knative.dev/service={cluster.service(verb)}"
        options = ("-c", "function", "--since=3m", "--tail=-1", "--prefix")
        log = cluster.kubectl("logs", "-l", selector, *options, check=False)
        (to / f"{verb}.log").write_text(log)


class _Driver:
    """The phases of a run."""

    def __init__(
        self,
        schedule: Schedule,
        entry: Entry,
        proxy: ApiProxy,
        deployment: Deployment,
        recorder: Recorder,
    ) -> None:
        self._schedule, self._proxy, self._recorder = schedule, proxy, recorder
        self._deployment = deployment
        self._calls = Calls(
            recorder,
            lambda *_: entry.url,
            entry.headers,
            prefix=deployment.prefix,
            hang_seconds=_HANG_SECONDS,
            on_given=lambda sandbox_id: self._log.begin(sandbox_id),
        )
        self._calm = Calm(self._calls, _CALM_SECONDS)
        self._log = RunLog(deployment)
        self.injection = Injection(deployment, proxy, recorder)
        self.findings = self._calm.findings
        self.seconds: dict[str, float] = {}

    async def run(self) -> None:
        """Break, heal, look at what is there, and at what is left."""
        watching = asyncio.create_task(self._log.watch())
        try:
            await self._phase("traffic", self._traffic())
            self._proxy.pass_all()
            await self._phase("settle", self._settle())
            await self._phase("end", self._end())
        finally:
            watching.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watching
            self._log.close()
            await self._calls.close()

    async def _phase(self, name: str, work: Awaitable[None]) -> None:
        begin = time.monotonic()
        try:
            await work
        finally:
            self.seconds[name] = time.monotonic() - begin

    async def _traffic(self) -> None:
        until = asyncio.get_running_loop().time() + self._schedule.traffic_ms / 1000
        async with asyncio.TaskGroup() as group:
            group.create_task(self.injection.run(self._schedule.steps))
            group.create_task(churn(self._calls, until))
            group.create_task(clean_up(self._calls, until))
            for caller in callers(self._calls, self._schedule.seed):
                group.create_task(caller.work(until))

    async def _settle(self) -> None:
        async with asyncio.TaskGroup() as group:
            for thread in THREADS:
                group.create_task(self._calm.settle(thread))
        # What a creation left that failed halfway is the cleanup's.
        await self._calm.until_done("cleanup_idle", "")
        for thread in (*THREADS, CHURNED):
            self._recorder.sandboxes(thread, await self._deployment.live(thread))

    async def _end(self) -> None:
        async with asyncio.TaskGroup() as group:
            for thread in THREADS:
                group.create_task(self._calm.end(thread))
            group.create_task(self._churned_no_more())
        await self._until_gone()
        for request_id, count in self._log.counts().items():
            for _ in range(count):
                self._recorder.ran(request_id)

    async def _churned_no_more(self) -> None:
        # What a creation left that nobody heard of is the thread's next sandbox.
        await self._calm.until_done("acquire", CHURNED)
        await self._calm.until_done("release", CHURNED)

    async def _until_gone(self) -> None:
        """Wait until all is gone that was released; whatever is not is a finding."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + _GONE_SECONDS
        while left := await self._deployment.left():
            if clock() > deadline:
                break
            await self._calls("cleanup_idle", "")
            await asyncio.sleep(_PAUSE_SECONDS)
        for thing in left:
            what, _, name = thing.partition(" ")
            self._recorder.left(what, name)
