"""The book in Python, the same in a file, and the scripts in Lua answer the same to the same calls."""

from __future__ import annotations

import dataclasses
import random

import pytest

from oneseek_sandbox.errors import SandboxError
from oneseek_sandbox.leases.file import FileLeaseStore
from oneseek_sandbox.leases.memory import MemoryLeaseStore
from oneseek_sandbox.leases.store import Creation, Granted, Lease, LeaseTerms, Suspected, Thread
from oneseek_sandbox.testing.clock import FakeClock
from oneseek_sandbox.testing.leases import placement

# Long enough that nothing ends by itself, and short enough to be waited for at a `pause`.
TERMS = LeaseTerms(
    2000, ended_ms=60_000, idle_ms=2000, max_sandboxes=4, max_request_ids=3, pause_ms=600_000
)
THREADS = [Thread("s", "a"), Thread("s", "b"), Thread("s:a", "")]
STEPS = 360
# Compared as they are; ids differ by nature, and times by how fast a server is.
PLAIN = {"thread", "state", "idle_ms", "suspect", "pins", "uid", "name", "restarted", "fresh"}
PLAIN |= {"reason", "end", "more", "already", "tries"}
NESTED = {"lease", "doomed", "placement"}


class Side:
    """One store, with what it handed out: the other side has the same under the same number."""

    def __init__(self, store):
        self.store = store
        self.leases, self.creations, self.ids = [], [], []

    async def call(self, method, *args, **fields):
        try:
            outcome = await getattr(self.store, method)(*args, **fields)
        except SandboxError as error:
            return type(error).__name__, self.number(error.message)
        found = outcome.lease if isinstance(outcome, Granted | Suspected) else outcome
        if isinstance(found, Lease):
            self.leases.append(found)
        if isinstance(found, Creation):
            self.creations.append(found)
        return self.comparable(outcome)

    def comparable(self, value):
        if isinstance(value, list):
            return sorted((self.comparable(item) for item in value), key=repr)
        if not dataclasses.is_dataclass(value) or isinstance(value, Thread):
            return value
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        seen = {
            name: self.comparable(item) for name, item in fields.items() if name in PLAIN | NESTED
        }
        if sandbox_id := fields.get("sandbox_id"):
            if sandbox_id not in self.ids:
                self.ids.append(sandbox_id)
            seen["sandbox"] = self.ids.index(sandbox_id)
        if "ended_generation" in fields:
            seen["had one before"] = fields["ended_generation"] > 0
        return type(value).__name__, seen

    def number(self, text):
        for number, sandbox_id in enumerate(self.ids):
            text = text.replace(sandbox_id, f"#{number}")
        return text


def some_call(chance, sides):
    """Choose a call; `pick` stands for what each side has under one number."""
    thread = chance.choice(THREADS)
    ids, leases, creations = (
        len(getattr(sides[0], kind)) for kind in ("ids", "leases", "creations")
    )
    # Mostly what is recent: what is stale is refused, and would be all that is ever tried.
    recent = lambda count: max(0, count - 1 - int(chance.expovariate(0.7)))  # noqa: E731
    an_id = recent(ids) if ids and chance.random() < 0.7 else None
    attempt, pin = f"attempt-{chance.randrange(6)}", f"pin-{chance.randrange(3)}"
    request = chance.choice([None, *"abcd"])
    uid = f"uid-{chance.randrange(10_000)}"
    calls = {
        "acquire": lambda side: (
            (thread,),
            {
                "attempt": attempt,
                "idle_ms": idle_ms,
                "lost": side.leases[an_old] if lost and side.leases else None,
            },
        ),
        "pin": lambda side: (
            (thread,),
            {
                "sandbox_id": pick_id(side),
                "pin_id": pin,
                "limit_ms": limit_ms,
                "request": request,
            },
        ),
        "release": lambda side: (
            (thread,),
            {"sandbox_id": pick_id(side), "unleased": unleased},
        ),
        "get": lambda _: ((thread,), {}),
        "leases": lambda _: ((), {}),
        "doomed": lambda _: ((100,), {}),
        "take_doomed": lambda _: ((100,), {}),
        "expire": lambda _: ((100,), {}),
    }
    pick_id = lambda side: None if an_id is None else side.ids[an_id]  # noqa: E731
    an_old = recent(leases)
    idle_ms, lost = chance.choice([None, None, 1900, 6000]), chance.random() < 0.3
    limit_ms, unleased = chance.choice([1900, 4000]), chance.random() < 0.2
    if ids:
        calls["resolve"] = lambda side: ((side.ids[an_id or 0],), {})
    if creations:
        which = recent(creations)
        new = dataclasses.replace(
            placement(uid, boot_id=f"boot-{chance.randrange(3)}"),
            restarted=chance.random() < 0.5,
            fresh=chance.random() < 0.5,
        )
        made = chance.choice(["", uid])
        calls["commit"] = lambda side: ((side.creations[which], new), {})
        calls["renew"] = lambda side: ((side.creations[which],), {})
        calls["abandon"] = lambda side: (
            (side.creations[which],),
            {"uid": made, "name": made},
        )
    if leases:
        held = recent(leases)
        for method in ("suspect", "clear", "lose"):
            calls[method] = lambda side: ((side.leases[held],), {})
        teller, heard = f"teller-{chance.randrange(2)}", chance.random() < 0.5
        calls["take_news"] = lambda side: ((side.leases[held],), {"teller": teller})
        calls["settle_news"] = lambda side: (
            (side.leases[held],),
            {"teller": teller, "heard": heard},
        )
        calls["restart"] = lambda side: ((side.leases[held],), {"attempt": attempt})
        calls["unpin"] = lambda side: (
            (side.leases[held],),
            {"pin_id": pin, "unstarted": request},
        )
    method = chance.choice([*calls, "acquire", "acquire", *(["commit"] * 4 if creations else [])])
    return method, calls[method]


@pytest.mark.promise(2, 3, 4, 5, 6)
@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_all_stores_agree_on_any_sequence_of_calls(
    seed, new_redis_store, redis_later, tmp_path
):
    chance, clock = random.Random(seed), FakeClock()
    # As two processes would, by turns.
    files = [FileLeaseStore(tmp_path, TERMS, clock) for _ in range(2)]
    for file in files:
        await file.open()
    sides = [
        Side(MemoryLeaseStore(TERMS, clock)),
        Side(await new_redis_store(TERMS)),
        in_file := Side(files[0]),
    ]
    history, kinds = [], set()
    for step in range(STEPS):
        in_file.store = files[step % 2]
        if step % 120 == 119:
            # Over for all that was not pinned or given longer, on both clocks.
            clock.advance(2100)
            await redis_later(2100)
        method, arguments = some_call(chance, sides)
        answers = []
        for side in sides:
            args, fields = arguments(side)
            answers.append(await side.call(method, *args, **fields))
        history.append((method, arguments(sides[0]), answers[0]))
        assert answers[0] == answers[1] == answers[2], history[-12:]
        kinds.add((method, str(answers[0])[:24]))
        if method == "doomed" and chance.random() < 0.7:
            for entry in await sides[0].store.doomed(100):
                for side in sides:
                    await side.store.forget(entry.uid)
    assert len(kinds) > 25, sorted(kinds)
    for file in files:
        await file.close()
