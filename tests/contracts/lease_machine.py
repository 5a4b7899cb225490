"""Draws sequences of lease calls, makes them on all stores, and has each step judged."""

from __future__ import annotations

import asyncio
import dataclasses
import shutil
import tempfile
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    multiple,
    rule,
    run_state_machine_as_test,
)
from tests.contracts.lease_history import Step
from tests.contracts.lease_promises import LeasePromises
from tests.contracts.lockstep import Lockstep

from oneseek_sandbox.leases.store import (
    Creation,
    Granted,
    Lease,
    LeaseTerms,
    Suspected,
    Thread,
)
from oneseek_sandbox.testing.leases import placement

__all__ = ["LeaseMachine", "run"]

# Every duration has a last digit of its own, and steps are whole hundreds apart: no two ends are
# ever due in the same millisecond, whose order stores may choose.
TERMS = LeaseTerms(creation_ms=3004, idle_ms=2005, max_sandboxes=5, max_request_ids=3)
RETIRING = dataclasses.replace(TERMS, lifetime_ms=8006)
STEP_MS = 100
THREADS = st.sampled_from([Thread("s", "a"), Thread("s:a", "")])
ATTEMPTS = st.sampled_from([f"attempt-{number}" for number in range(3)])
PINS = st.sampled_from(["pin-0", "pin-1"])
BUSY = st.sampled_from([0, 0, 40, 300])
TELLERS = st.sampled_from(["teller-0", "teller-1"])
LABELS = st.sampled_from([None, None, "{}", '{"team":"red"}'])
ENVS = st.sampled_from([None, None, "{}", '{"A":"1"}', '{"A":"2"}'])
REQUESTS = st.sampled_from([None, None, *"abcd"])
TIMES = st.sampled_from([1, 1, 1, 2])


class LeaseMachine(RuleBasedStateMachine):
    """Draws the calls; creations and leases stay in hand long after they are over."""

    redis_url = ""
    kind = Lockstep
    creations = Bundle("creations")
    leases = Bundle("leases")
    ids = Bundle("ids")

    @initialize(terms=st.sampled_from([TERMS, RETIRING]))
    def open(self, terms):
        self.loop = asyncio.new_event_loop()
        self.home = Path(tempfile.mkdtemp(prefix="lease-model-"))
        self.stores = self.kind(self.redis_url, self.home, terms)
        self.loop.run_until_complete(self.stores.open())
        self.promises = LeasePromises(terms)
        self.uids, self.jumps = 0, 0

    def teardown(self):
        if hasattr(self, "loop"):
            self.loop.run_until_complete(self.stores.close())
            self.loop.close()
            shutil.rmtree(self.home)

    def call(self, method, *args, times=1, seen=None, **fields):
        """Make a call, and let the promises see it with `seen`, its arguments by name."""

        async def step():
            self.stores.time_ms += STEP_MS
            before = await self.stores.view()
            answer = await self.stores.call(method, *args, times=times, **fields)
            after = await self.stores.view()
            known = {**fields, **(seen or {})}
            self.promises.see(
                Step(method, self.stores.now_ms(), known, answer, before, after, times)
            )
            return answer

        return self.loop.run_until_complete(step())

    @rule(seconds=st.sampled_from([0.1, 0.5, 1, 2.2, 2.2, 3.5]))
    def later(self, seconds):
        self.stores.time_ms += int(1000 * seconds)

    @rule(seconds=st.sampled_from([-20, -1, 0, 0, 0, 60]))
    def clock_jumps(self, seconds):
        self.jumps += 1
        self.stores.time_ms += 1000 * seconds + 10 * (self.jumps % 10)

    @rule(
        target=creations,
        thread=THREADS,
        attempt=ATTEMPTS,
        idle_ms=st.sampled_from([None, None, 1907, 6003]),
        lost=st.none() | leases,
        labels=LABELS,
        env=ENVS,
        times=TIMES,
    )
    def acquire(self, thread, attempt, idle_ms, lost, labels, env, times):
        fields = {"attempt": attempt, "idle_ms": idle_ms, "lost": lost}
        fields |= {"labels": labels, "env": env}
        answer = self.call("acquire", thread, times=times, seen={"thread": thread}, **fields)
        return answer if isinstance(answer, Creation) else multiple()

    @rule(target=creations, lease=leases, attempt=ATTEMPTS, times=TIMES)
    def restart(self, lease, attempt, times):
        answer = self.call("restart", lease, attempt=attempt, times=times, seen={"lease": lease})
        return answer if isinstance(answer, Creation) else multiple()

    @rule(
        target=leases,
        creation=creations,
        news=st.sampled_from([{}, {"fresh": True}, {"restarted": True}]),
        idle_ms=st.sampled_from([0, 0, 6003]),
        times=TIMES,
        labels=LABELS,
        env_lost=st.booleans(),
    )
    def commit(self, creation, news, idle_ms, times, labels=None, env_lost=False):
        self.uids += 1
        # A restart is of the lease's own sandbox.
        uid = self.promises.uid_of(creation.sandbox_id) or f"uid-{self.uids}"
        made = dataclasses.replace(placement(uid, f"boot-{self.uids}"), **news)
        seen = {"creation": creation}
        fields = {"idle_ms": idle_ms, "labels": labels or "", "env_lost": env_lost}
        answer = self.call("commit", creation, made, times=times, seen=seen, **fields)
        return answer if isinstance(answer, Lease) else multiple()

    @rule(target=leases, thread=THREADS, attempt=ATTEMPTS)
    def make_ready(self, thread, attempt):
        """Acquire and commit, as most creators do: else few leases would ever be in use."""
        fields = {"attempt": attempt, "idle_ms": None, "lost": None}
        answer = self.call("acquire", thread, seen={"thread": thread}, **fields)
        return self.commit(answer, {}, 0, 1) if isinstance(answer, Creation) else multiple()

    @rule(target=leases, lease=leases, attempt=ATTEMPTS)
    def start_again(self, lease, attempt):
        """Restart and commit: another process in the same sandbox, and leases of the one before."""
        answer = self.call("restart", lease, attempt=attempt, seen={"lease": lease})
        return self.commit(answer, {}, 0, 1) if isinstance(answer, Creation) else multiple()

    @rule(target=ids, lease=leases)
    def name(self, lease):
        return lease.sandbox_id

    @rule(target=creations, creation=creations, above_ms=st.sampled_from([None, None, 0, 5000]))
    def renew(self, creation, above_ms):
        above = 0 if above_ms is None else self.stores.now_ms() + above_ms
        answer = self.call("renew", creation, above_generation=above, seen={"creation": creation})
        return answer if isinstance(answer, Creation) else multiple()

    @rule(creation=consumes(creations), made=st.booleans(), times=TIMES)
    def abandon(self, creation, made, times):
        self.uids += 1
        uid = (self.promises.uid_of(creation.sandbox_id) or f"uid-{self.uids}") if made else ""
        seen = {"creation": creation}
        self.call("abandon", creation, uid=uid, name=uid, times=times, seen=seen)

    @rule(
        target=leases,
        thread=THREADS,
        sandbox_id=st.none() | ids,
        pin_id=PINS,
        limit_ms=st.sampled_from([1901, 4002]),
        request=REQUESTS,
        times=TIMES,
        sent=REQUESTS,
        busy_ms=BUSY,
    )
    def pin(self, thread, sandbox_id, pin_id, limit_ms, request, times, sent, busy_ms):
        fields = {"sandbox_id": sandbox_id, "pin_id": pin_id, "limit_ms": limit_ms}
        fields |= {"sent": sent, "busy_ms": busy_ms}
        answer = self.call(
            "pin", thread, times=times, request=request, seen={"thread": thread}, **fields
        )
        return answer if isinstance(answer, Lease) else multiple()

    @rule(lease=leases, pin_id=PINS, unstarted=REQUESTS, times=TIMES)
    def unpin(self, lease, pin_id, unstarted, times):
        fields = {"pin_id": pin_id, "unstarted": unstarted}
        self.call("unpin", lease, times=times, seen={"lease": lease}, **fields)

    @rule(
        lease=leases,
        method=st.sampled_from(["suspect", "clear", "lose", "rest"]),
        times=TIMES,
    )
    def mark(self, lease, method, times):
        self.call(method, lease, times=times, seen={"lease": lease})

    @rule(lease=leases, teller=TELLERS, times=TIMES)
    def take_news(self, lease, teller, times):
        self.call("take_news", lease, teller=teller, times=times, seen={"lease": lease})

    @rule(lease=leases, teller=TELLERS, heard=st.booleans(), times=TIMES)
    def settle_news(self, lease, teller, heard, times):
        fields = {"teller": teller, "heard": heard}
        self.call("settle_news", lease, times=times, seen={"lease": lease}, **fields)

    @rule(target=leases, thread=THREADS, attempt=ATTEMPTS)
    def look_at(self, thread, attempt):
        fields = {"attempt": attempt, "idle_ms": None, "lost": None}
        answer = self.call("acquire", thread, seen={"thread": thread}, **fields)
        return answer.lease if isinstance(answer, Granted | Suspected) else multiple()

    @rule(
        thread=THREADS,
        sandbox_id=st.none() | ids,
        found=st.sampled_from([0, 1, 10**15]),
        times=TIMES,
    )
    def release(self, thread, sandbox_id, found, times):
        fields = {"sandbox_id": sandbox_id, "found_generation": found}
        self.call("release", thread, times=times, seen={"thread": thread}, **fields)

    @rule(limit=st.sampled_from([1, 100]), seconds=st.sampled_from([0, 0, 6.2]))
    def expire(self, limit, seconds):
        """End what is over; often so late that it is all there is."""
        self.later(seconds)
        self.call("expire", limit, seen={"limit": limit})

    @rule(data=st.data())
    def forget(self, data):
        doomed = sorted(self.loop.run_until_complete(self.stores.view()).doomed)
        if doomed:
            uid = data.draw(st.sampled_from(doomed))
            self.call("forget", uid, seen={"uid": uid})

    @rule(sandbox_id=ids)
    def env(self, sandbox_id):
        self.call("env", sandbox_id)

    @rule(sandbox_id=ids)
    def resolve(self, sandbox_id):
        self.call("resolve", sandbox_id)

    @rule(thread=THREADS)
    def get(self, thread):
        self.call("get", thread)

    @rule()
    def keep(self):
        self.loop.run_until_complete(self.stores.keep())

    @rule(number=st.integers(0, 30))
    def lose_or_go_back(self, number):
        """Now and then empty the stores (the first backup is of empty ones), or go back."""
        if number > 3:
            return

        async def lose():
            await self.stores.go_back(number)
            self.promises.forget(await self.stores.view())

        self.loop.run_until_complete(lose())


def run(redis_url, sequences, steps, stores=Lockstep, shrink=True, numbered=None):
    """Try sequences; raises what the first one that fails raised.

    Args:
        numbered: Which sequences, the same for the same number; left out, those of this source.
    """
    machine = type("Machine", (LeaseMachine,), {"redis_url": redis_url, "kind": stores})
    if numbered is not None:
        machine = seed(numbered)(machine)
    phases = [Phase.generate, Phase.shrink] if shrink else [Phase.generate]
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=sequences,
            stateful_step_count=steps,
            phases=phases,
            report_multiple_bugs=False,
            deadline=None,
            database=None,
            derandomize=True,
            print_blob=False,
            suppress_health_check=list(HealthCheck),
        ),
    )
