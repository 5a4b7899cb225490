"""Does what a schedule says to a deployment, and notes each fault in the history."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter

from tests.faults.deployed.api_proxy import ApiProxy
from tests.faults.deployed.outside import (
    WORKER,
    Deployment,
    Pod,
    is_ending,
    processes_of,
    signal_all,
    thread_of,
)
from tests.faults.deployed.schedule import KINDS, Step
from tests.faults.history import Recorder
from tests.faults.live.traffic import THREADS

__all__ = ["Injection"]

_VERBS = ("acquire", "acquire", "release", "execute", "write_file", "read_file", "cleanup_idle")
_BACK_SECONDS = 120.0


class Injection:
    """The faults of one schedule.

    Attributes:
        done: How often each kind found something to hit.
    """

    def __init__(self, deployment: Deployment, proxy: ApiProxy, recorder: Recorder) -> None:
        self._deployment, self._proxy, self._recorder = deployment, proxy, recorder
        self.done: Counter[str] = Counter()

    async def run(self, steps: tuple[Step, ...]) -> None:
        """Do all steps, each at its time, beside one another; return when all are over."""
        async with asyncio.TaskGroup() as group:
            for step in steps:
                group.create_task(self._later(step))

    async def _later(self, step: Step) -> None:
        await asyncio.sleep(step.at_ms / 1000)
        part = step.kind.partition("_")[0]
        act = {"function": self._function, "redis": self._redis, "sandbox": self._sandbox}
        await act.get(part, self._api)(step)

    def _note(self, step: Step, **details: object) -> None:
        for name in KINDS[step.kind].history:
            self._recorder.fault(name, kind=step.kind, **details)

    async def _api(self, step: Step) -> None:
        self.done[step.kind] += 1
        self._note(step, share=step.share)
        self._proxy.break_calls(step.kind, step.share, step.target)
        await asyncio.sleep(step.lasts_ms / 1000)
        self._proxy.pass_all()

    async def _function(self, step: Step) -> None:
        verb = _VERBS[step.target % len(_VERBS)]
        pods = await self._deployment.functions(verb)
        if not pods:
            return  # none runs just now: the next call starts one
        pod = pods[step.target % len(pods)]
        self.done[step.kind] += 1
        self._note(step, verb=verb)
        pids = await asyncio.to_thread(processes_of, pod, "functions_framework")
        if step.kind == "function_paused":
            await _pause(pids, step)
            return
        if step.kind == "function_killed":
            signal_all(pids, signal.SIGKILL)
        # A process that ended is started again later each time; a new pod starts at once.
        await self._deployment.delete(pod, grace_seconds=30)

    async def _redis(self, step: Step) -> None:
        pod = await self._deployment.redis()
        if pod is None or is_ending(pod):
            return
        pids = await asyncio.to_thread(processes_of, pod, "valkey-server")
        self.done[step.kind] += 1
        self._note(step)
        if step.kind == "redis_paused":
            await _pause(pids, step)
        elif step.kind == "redis_killed":
            signal_all(pids, signal.SIGKILL)
        elif step.kind == "redis_emptied":
            with contextlib.suppress(AssertionError):  # it may be away by another fault
                await self._deployment.valkey("flushall")
        else:
            await self._deployment.delete(pod, grace_seconds=1)
            await self._is_back(pod)
        self._note(step, over=True)

    async def _is_back(self, old: Pod) -> None:
        async with asyncio.timeout(_BACK_SECONDS):
            while True:
                pod = await self._deployment.redis()
                if pod and pod["metadata"]["uid"] != old["metadata"]["uid"]:
                    return
                await asyncio.sleep(0.1)

    async def _sandbox(self, step: Step) -> None:
        """Hit the sandbox of the step's thread, or of the next that has one."""
        found = await self._deployment.sandboxes()
        by_thread = {thread_of(pod): pod for pod in found if not is_ending(pod)}
        for offset in range(len(THREADS)):
            thread = THREADS[(step.target + offset) % len(THREADS)]
            pod = by_thread.get(self._deployment.prefix + thread)
            pids = await asyncio.to_thread(processes_of, pod, WORKER) if pod else []
            if pod and pids:
                break
        else:
            return
        self.done[step.kind] += 1
        self._note(step, thread=thread)
        began = self._recorder.events[-1]["at"]
        if step.kind == "sandbox_killed":
            signal_all(pids, signal.SIGSTOP)
            signal_all(pids, signal.SIGKILL)
        else:
            await self._deployment.delete(pod, grace_seconds=1)
            # Until its processes are gone it takes writes, which then go with it.
            await self._deployment.has_ended(pod)
            self._note(step, thread=thread, since=began)


async def _pause(pids: list[int], step: Step) -> None:
    signal_all(pids, signal.SIGSTOP)
    try:
        await asyncio.sleep(step.lasts_ms / 1000)
    finally:
        signal_all(pids, signal.SIGCONT)
