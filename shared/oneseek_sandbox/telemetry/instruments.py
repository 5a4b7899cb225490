"""The figures of this process. Labels are verbs, outcomes and error codes, never whose call it was."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.telemetry.registry import Counter, Gauge, Histogram, written

if TYPE_CHECKING:
    from collections.abc import Mapping

    from oneseek_sandbox.telemetry.recorders import Attribute

__all__ = ["LIVE", "POOL", "count_call", "metrics_text"]

_PREFIX: Final = "oneseek_sandbox_"
# From a read in a warm sandbox to a command at the longest limit.
_BOUNDS: Final = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 600)

_ACQUIRES: Final = Counter(
    _PREFIX + "acquires_total",
    "Acquires by outcome: reused, restarted, warm (from the pool), cold, or refused with a code.",
    ("outcome", "code"),
)
_DURATIONS: Final = Histogram(
    _PREFIX + "operation_duration_seconds",
    "How long calls took, by verb and outcome: ok, or the code of the error.",
    ("verb", "outcome"),
    bounds=_BOUNDS,
)
_SETTLED: Final = Counter(
    _PREFIX + "settled_total",
    "What cleanups of this process found: expired and lost sandboxes, adopted ones, orphans.",
    ("kind",),
)
LIVE: Final = Gauge(
    _PREFIX + "live_sandboxes", "Leases in the store, all of them, whoever is asked."
)
POOL: Final = Gauge(
    _PREFIX + "warm_pool",
    "Started sandboxes that wait for a thread, wanted and ready, as the last cleanup saw them.",
    ("state",),
)


def count_call(verb: str, error: str, seconds: float, facts: Mapping[str, Attribute]) -> None:
    """Count a call that has ended.

    Args:
        error: Its code, empty without one.
    """
    _DURATIONS.observe(seconds, verb, error or "ok")
    if verb == "acquire":
        _ACQUIRES.add(1, "refused" if error else _outcome(facts), error)
    if verb == "cleanup_idle" and not error:
        for kind in ("expired", "adopted", "lost", "orphans"):
            _SETTLED.add(float(facts.get(f"sandbox.{kind}", 0)), kind)


def _outcome(facts: Mapping[str, Attribute]) -> str:
    ways = ("restarted", "reused", "warm")
    return next((name for name in ways if facts.get(f"sandbox.{name}")), "cold")


def metrics_text() -> str:
    """Return everything in Prometheus's text format."""
    return written((_ACQUIRES, _DURATIONS, LIVE, _SETTLED, POOL))
