"""Does what a schedule says to a running system, and notes each fault in the history."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter

from tests.faults.history import Recorder
from tests.faults.live.homes import LoopHome
from tests.faults.live.outside import Seen, children, processes_of, seen_sandboxes, signal_all
from tests.faults.live.relay import Relay
from tests.faults.live.schedule import Step
from tests.faults.live.system import System
from tests.faults.live.traffic import THREADS, WORKSPACE, Calls

__all__ = ["Injection"]

# How the history calls what is done here; what is not named here has the name of its kind.
_IN_HISTORY = {
    "gateway_killed": "server_killed",
    "gateway_paused": "server_paused",
    "store_killed": "store_away",
    "store_paused": "store_away",
    "store_delayed": "store_answer_lost",
    "store_cut": "store_answer_lost",
    "store_repeated": "store_answer_lost",
    "worker_killed": "worker_died",
    "sandbox_killed": "worker_died",
    "died_in_verb": "worker_died",
    "front_cut": "caller_left",
    # Not `request_resent`: here the second comes before the first is answered.
    "front_repeated": "request_done_twice",
}
_FIELDS = {
    "execute": {"command": "sleep 0.2; true"},
    "read_file": {"path": f"{WORKSPACE}/file-0"},
    "write_file": {"path": f"{WORKSPACE}/died"},
    "replace": {"path": f"{WORKSPACE}/died", "old": "a", "new": "b"},
}


class Injection:
    """The faults of one schedule.

    Attributes:
        done: How often each kind found something to hit.
    """

    def __init__(self, system: System, recorder: Recorder, calls: Calls) -> None:
        self._system, self._recorder, self._calls = system, recorder, calls
        self.done: Counter[str] = Counter()

    async def run(self, steps: tuple[Step, ...]) -> None:
        """Do all steps, each at its time, beside one another."""
        await asyncio.gather(*(self._later(step) for step in steps))

    async def _later(self, step: Step) -> None:
        await asyncio.sleep(step.at_ms / 1000)
        part, _, what = step.kind.partition("_")
        if part == "gateway":
            await self._gateway(step)
        elif step.kind in ("store_killed", "store_paused"):
            await self._store(step)
        elif part in ("front", "store") or step.kind in ("worker_delayed", "worker_cut"):
            await self._relay(step, part, what)
        elif part == "disk":
            await self._fill_disk(step)
        elif step.kind == "died_in_verb":
            await self._die_in_verb(step)
        else:
            await self._inside(step)

    def _note(self, step: Step, **details: object) -> None:
        self.done[step.kind] += 1
        self._recorder.fault(_IN_HISTORY.get(step.kind, step.kind), kind=step.kind, **details)

    async def _gateway(self, step: Step) -> None:
        parts = self._system.parts
        part = parts[step.target % len(parts)]
        self._note(step, part=part.name)
        if step.kind == "gateway_paused":
            part.pause(True)
            await asyncio.sleep(step.lasts_ms / 1000)
            part.pause(False)
            return
        part.kill()
        await asyncio.sleep(step.lasts_ms / 1000)
        part.launch()
        with contextlib.suppress(RuntimeError):  # the store may be away; `heal` starts it again
            await asyncio.to_thread(part.wait_ready)

    async def _store(self, step: Step) -> None:
        pid = self._system.store_process()
        if pid is None:
            return
        self._note(step)
        if step.kind == "store_killed":
            os.kill(pid, signal.SIGKILL)
            return  # whoever needs it starts it again
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(step.lasts_ms / 1000)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)

    async def _relay(self, step: Step, part: str, what: str) -> None:
        relays: list[Relay] = {
            "front": list(self._system.fronts.values()),
            "worker": list(self._system.workers.values()),
        }.get(part, [self._system.store])
        if part == "front":
            relays = [relays[step.target % len(relays)]]
        if part == "store":
            self._system.lead_to_relay()
        self._note(step)
        for relay in relays:
            relay.delay = 0.25 if what == "delayed" else relay.delay
            relay.cut = relay.cut or what == "cut"
            relay.repeat = relay.repeat or what == "repeated"
        await asyncio.sleep(step.lasts_ms / 1000)
        for relay in relays:
            relay.pass_all()

    async def _fill_disk(self, step: Step) -> None:
        disk = self._system.disk
        assert isinstance(disk, LoopHome)
        self._note(step)
        await asyncio.to_thread(disk.fill)
        await asyncio.sleep(step.lasts_ms / 1000)
        await asyncio.to_thread(disk.free)

    def _sandbox(self, step: Step) -> Seen | None:
        """Return the sandbox of the step's thread, or of the next that has one."""
        for offset in range(len(THREADS)):
            thread = THREADS[(step.target + offset) % len(THREADS)]
            for sandbox in seen_sandboxes(self._system.home, thread):
                if sandbox.first is not None:
                    return sandbox
        return None

    async def _inside(self, step: Step) -> None:
        sandbox = self._sandbox(step)
        first = sandbox.first if sandbox else None
        if sandbox is None or first is None:
            return
        monitors = children(first)
        pids = {
            "worker": [first],
            "sandbox": processes_of(sandbox),
            "monitor": monitors[step.target % len(monitors) :][:1] if monitors else [],
        }[step.kind.partition("_")[0]]
        if not pids:
            return
        self._note(step, thread=sandbox.thread)
        if step.kind.endswith("killed"):
            signal_all(pids, signal.SIGKILL)
            return
        signal_all(pids, signal.SIGSTOP)
        await asyncio.sleep(step.lasts_ms / 1000)
        signal_all(pids, signal.SIGCONT)

    async def _die_in_verb(self, step: Step) -> None:
        """Kill a sandbox's first process while a call to it is under way."""
        sandbox = self._sandbox(step)
        if sandbox is None:
            return
        fields = dict(_FIELDS.get(step.verb, {}))
        if step.verb == "write_file":
            fields["content"] = f"died-{step.at_ms}-{step.target}"
        call = asyncio.create_task(self._calls(step.verb, sandbox.thread, step.target, **fields))
        await asyncio.sleep((step.target % 40) / 1000)
        first = sandbox.first
        if first is not None:
            self._note(step, thread=sandbox.thread, verb=step.verb)
            signal_all([first], signal.SIGKILL)
        await call
