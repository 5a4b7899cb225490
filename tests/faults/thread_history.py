"""A history as far as it concerns one thread, and when its sandbox can have come to its end."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import inf
from typing import Any, Final

from tests.faults.history import Call, History

__all__ = ["DATA_VERBS", "ENDS", "ThreadHistory"]

DATA_VERBS: Final = {"execute", "ls", "read_file", "write_file", "replace", "attach", "signal"}
ENDS: Final = ("sandbox_gone", "power_cut")
"""The faults that end a sandbox with its files."""

# Longest hold of a pin that a call does not name: a file operation's limit and its grace.
_HOLD_MS: Final = 90_000


@dataclass(slots=True)
class ThreadHistory:
    """A history as far as it concerns one thread."""

    history: History
    thread: str
    calls: list[Call] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.calls = [call for call in self.history.calls if call.thread == self.thread]

    def of(self, *verbs: str) -> list[Call]:
        return [call for call in self.calls if call.verb in verbs]

    @property
    def acquired(self) -> list[Call]:
        """Acquires that were answered with a sandbox, in the order of the answers."""
        return sorted((c for c in self.of("acquire") if c.ok), key=lambda call: call.ended)

    def faults(self, *names: str) -> list[dict[str, Any]]:
        return self.history.faults(*names, thread=self.thread)

    def skips(self) -> list[tuple[float, float]]:
        """Return when, and how far, a lease may have aged at once; a stale lease is an old one."""
        jumps = [(fault["at"], fault["by_ms"]) for fault in self.faults("clock_jumped")]
        back = [(fault["at"], fault["back_ms"]) for fault in self.faults("store_rolled_back")]
        return sorted([*jumps, *back])

    @property
    def idle_ms(self) -> float:
        given = [call.fields.get("idle_timeout_seconds") for call in self.of("acquire")]
        return min([self.history.about["idle_ms"], *(1000 * s for s in given if s)])

    def _held(self, call: Call) -> float:
        """Return until when a call's pin may hold the lease, its unpin being lost."""
        pinned = call.began + call.fields.get("hold_ms", _HOLD_MS) if call.verb in DATA_VERBS else 0
        return max(pinned, call.ended if call.ended < inf else call.began + _HOLD_MS)

    def may_end(self, start: float, end: float) -> bool:
        """Return whether the thread's sandbox can have come to its end between two moments."""
        for fault in self.faults(*ENDS):
            if fault.get("since", fault["at"]) <= end and fault["at"] >= start:
                return True
        # One that says `already` may have ended it: its first answer may have been lost inside.
        # One whose store did not answer may have reached it, and take effect long after.
        for call in self.of("release"):
            until = inf if call.code == "store_unavailable" else call.ended
            if call.began <= end and until >= start:
                return True
        return any(since <= end and until >= start for since, until in self.idle_times())

    def idle_times(self) -> Iterator[tuple[float, float]]:
        """Give the times in which the lease may have expired for want of activity."""
        active = sorted(
            (c for c in self.calls if c.ok and c.verb in {*DATA_VERBS, "acquire"}), key=_end
        )
        for call, after in pairwise([*active, None]):
            assert call is not None
            since, until = self._may_expire(call.began), after.ended if after else inf
            if since <= until:
                yield since, until

    def _may_expire(self, used: float) -> float:
        """Return the first moment at which a lease that was used then can expire."""
        rest = self.idle_ms - self.history.about.get("slack_ms", 0)
        moment = used
        for at, by in self.skips():
            if at >= used and by > 0:
                if at - moment >= rest:
                    break
                rest -= at - moment + by
                moment = at
                if rest <= 0:
                    return at
        return moment + rest

    def _unanswered(self, moment: float) -> bool:
        """Return whether an acquire before `moment` was not answered, and none that came later.

        What it had claimed may have been adopted by any cleanup since: a lease that began then.
        """
        told = max((call.began for call in self.acquired if call.ended < moment), default=-inf)
        return any(not c.ok and told <= c.began < moment for c in self.of("acquire"))

    def surely_over(self, moment: float) -> bool:
        """Return whether the thread's lease must have expired before `moment`."""
        if self._unanswered(moment):
            return False
        given = [1000 * (c.fields.get("idle_timeout_seconds") or 0) for c in self.of("acquire")]
        longest = max([self.history.about["idle_ms"], *given])
        before = [c for c in self.calls if c.began < moment and c.verb != "release"]
        last = max(self._held(call) for call in before)
        back = sum(-by for at, by in self.skips() if by < 0 and at <= moment)
        return moment - last - back - self.history.about.get("slack_ms", 0) > longest


def _end(call: Call) -> float:
    return call.ended
