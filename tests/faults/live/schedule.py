"""What is done to a running system, chosen by a seed: the same seed gives the same schedule.

The processes, and so the exact order of what they do, are real and do not repeat; what is asked,
what is broken, when, and for how long, does.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

__all__ = ["KINDS", "Schedule", "Step", "make_schedule", "may_mount"]

TRAFFIC_MS = 3_600
FIRST_FAULT_MS = 250
VERBS = ("execute", "ls", "read_file", "write_file", "replace", "acquire", "release")


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how likely, how long it lasts, and what the system must have for it."""

    weight: int
    lasts_ms: tuple[int, int] = (0, 0)
    needs: str = ""


KINDS = {
    "gateway_killed": Kind(5, (0, 400)),  # how long it stays away
    "gateway_paused": Kind(4, (200, 4_000)),  # longer than a creation lease at times
    "store_killed": Kind(3, needs="valkey"),
    "store_paused": Kind(2, (200, 2_600), needs="valkey"),
    "worker_killed": Kind(5),
    "worker_paused": Kind(2, (200, 2_000)),
    "sandbox_killed": Kind(3),
    "monitor_killed": Kind(3),
    "monitor_paused": Kind(1, (200, 1_500)),
    "front_delayed": Kind(1, (200, 1_500)),
    "front_cut": Kind(3, (100, 900)),
    "front_repeated": Kind(3, (300, 1_500)),
    "store_delayed": Kind(1, (200, 1_500), needs="valkey"),
    "store_cut": Kind(3, (100, 900), needs="valkey"),
    "store_repeated": Kind(3, (300, 1_500), needs="valkey"),
    "worker_delayed": Kind(1, (200, 1_500)),
    "worker_cut": Kind(3, (100, 900)),
    "died_in_verb": Kind(6),
    "disk_full": Kind(20, (300, 1_500), needs="small disk"),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: when it begins, whom it hits (a number to choose with), how long it lasts."""

    at_ms: int
    kind: str
    target: int
    lasts_ms: int
    verb: str = ""


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that a seed decides.

    Attributes:
        store: `valkey` (embedded) or `file`.
        home: `folder`, `small disk`, or `power cut`: a disk that loses its power at the end.
        form: Two `gateways`, or the eight `functions`, each a process.
        traffic_ms: How long backends call, at least.
    """

    seed: int
    store: str
    home: str
    form: str
    steps: tuple[Step, ...]
    traffic_ms: int = TRAFFIC_MS

    def __str__(self) -> str:
        faults = ", ".join(f"{step.kind}@{step.at_ms}" for step in self.steps)
        return f"seed {self.seed}: {self.form}, {self.store}, {self.home}; {faults}"


def may_mount() -> bool:
    """Return whether homes on file systems of their own can be had: only root mounts them."""
    return os.geteuid() == 0 and os.path.exists("/dev/loop-control")


def make_schedule(seed: int, *, mounts: bool | None = None, form: str | None = None) -> Schedule:
    """Return the schedule of a seed; where nothing can be mounted, its home is a plain folder."""
    choose = random.Random(f"schedule {seed}")
    store = choose.choices(("valkey", "file"), (4, 1))[0]
    home = choose.choices(("folder", "small disk", "power cut"), (70, 12, 18))[0]
    functions = choose.random() < 0.06
    if not (may_mount() if mounts is None else mounts):
        home = "folder"
    has = {"", store, home}
    kinds = {name: kind for name, kind in KINDS.items() if kind.needs in has}
    names = choose.choices(list(kinds), [k.weight for k in kinds.values()], k=choose.randint(2, 5))
    steps = sorted((_step(choose, name) for name in names), key=lambda step: step.at_ms)
    chosen = form or ("functions" if functions else "gateways")
    return Schedule(seed, store, home, chosen, tuple(steps))


def _step(choose: random.Random, name: str) -> Step:
    return Step(
        at_ms=choose.randint(FIRST_FAULT_MS, TRAFFIC_MS - 600),
        kind=name,
        target=choose.randrange(1_000),
        lasts_ms=choose.randint(*KINDS[name].lasts_ms),
        verb=choose.choice(VERBS) if name == "died_in_verb" else "",
    )
