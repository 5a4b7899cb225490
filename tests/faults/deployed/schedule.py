"""What is done to a deployment, chosen by a seed: the same seed gives the same schedule.

What runs is real and does not repeat; what is asked, what is broken, when, and for how long, does.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["KINDS", "Schedule", "Step", "make_schedule"]

TRAFFIC_MS = 6_000
FIRST_FAULT_MS = 0


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fault: how likely, how long it lasts, and how it stands in a history."""

    weight: int
    history: tuple[str, ...]
    lasts_ms: tuple[int, int] = (0, 0)


KINDS = {
    "function_deleted": Kind(4, ("server_killed",)),  # its pods, without a grace
    "function_killed": Kind(4, ("server_killed",)),  # its process, in one of its pods
    "function_paused": Kind(4, ("server_paused",), (300, 12_000)),  # longer than a creation lease
    "redis_deleted": Kind(2, ("store_away", "store_emptied")),  # its disk goes with its pod
    "redis_killed": Kind(2, ("store_away",)),  # it comes back with its file
    "redis_paused": Kind(2, ("store_away",), (300, 4_000)),
    "redis_emptied": Kind(2, ("store_emptied",)),
    "sandbox_deleted": Kind(4, ("sandbox_gone",)),
    "sandbox_killed": Kind(4, ("worker_died",)),  # all its processes; its files stay
    "api_conflicts": Kind(5, ("runtime_away",), (1_000, 5_000)),
    "api_busy": Kind(4, ("runtime_away",), (1_000, 5_000)),
    "api_broken": Kind(5, ("runtime_away",), (1_000, 5_000)),
    "api_lost": Kind(7, ("runtime_away",), (1_000, 5_000)),  # done, and answered 500
    "api_late": Kind(4, ("runtime_away",), (1_000, 5_000)),
}


@dataclass(frozen=True, slots=True)
class Step:
    """One fault: when it begins, whom it hits (a number to choose with), how long it lasts.

    Attributes:
        share: Of the API server's answers, how many are hit.
    """

    at_ms: int
    kind: str
    target: int
    lasts_ms: int
    share: float


@dataclass(frozen=True, slots=True)
class Schedule:
    """All that a seed decides."""

    seed: int
    steps: tuple[Step, ...]
    traffic_ms: int = TRAFFIC_MS

    def __str__(self) -> str:
        faults = ", ".join(f"{step.kind}@{step.at_ms}" for step in self.steps)
        return f"seed {self.seed}: {faults}"


def make_schedule(seed: int) -> Schedule:
    """Return the schedule of a seed."""
    choose = random.Random(f"deployed {seed}")
    weights = [kind.weight for kind in KINDS.values()]
    names = choose.choices(list(KINDS), weights, k=choose.randint(2, 4))
    steps = sorted((_step(choose, name) for name in names), key=lambda step: step.at_ms)
    return Schedule(seed, tuple(steps))


def _step(choose: random.Random, name: str) -> Step:
    return Step(
        at_ms=choose.randint(FIRST_FAULT_MS, TRAFFIC_MS - 1_000),
        kind=name,
        target=choose.randrange(1_000),
        lasts_ms=choose.randint(*KINDS[name].lasts_ms),
        share=choose.choice((0.2, 0.5, 1.0)),
    )
