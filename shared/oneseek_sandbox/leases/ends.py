"""What is remembered of leases that are over. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from oneseek_sandbox.leases.refusals import refusal

if TYPE_CHECKING:
    from oneseek_sandbox.errors import SandboxError
    from oneseek_sandbox.leases.store import EndReason, Thread

__all__ = ["End", "Ends"]


@dataclass(frozen=True, slots=True)
class End:
    """How a sandbox ended; kept until `forget_ms`."""

    thread: Thread
    generation: int
    reason: EndReason
    forget_ms: int


@dataclass(slots=True)
class Ends:
    """The ends that are not forgotten yet, by sandbox, and the last one of each thread."""

    by_sandbox: dict[str, End] = field(default_factory=dict)
    last: dict[Thread, End] = field(default_factory=dict)

    def remember(self, end: End, sandbox_id: str | None) -> None:
        """Add the last end of a thread, and whose it was where that is known."""
        self.last[end.thread] = end
        if sandbox_id is not None:
            self.by_sandbox[sandbox_id] = end

    def of_sandbox(self, sandbox_id: str, now_ms: int) -> End | None:
        """Return how a sandbox ended; None when it did not, or nobody knows any more."""
        return _unless_forgotten(self.by_sandbox.get(sandbox_id), now_ms)

    def last_of(self, thread: Thread, now_ms: int) -> End | None:
        """Return how the last sandbox of a thread ended."""
        return _unless_forgotten(self.last.get(thread), now_ms)

    def absence(self, thread: Thread, sandbox_id: str | None, now_ms: int) -> SandboxError:
        """Return why a thread has no lease, or not this one, to be raised."""
        if sandbox_id is None:
            return refusal("no_lease", thread=thread)
        end = self.of_sandbox(sandbox_id, now_ms)
        code = end.reason if end and end.thread == thread else "unknown"
        return refusal(code, sandbox_id=sandbox_id)

    def forget(self, now_ms: int) -> None:
        """Drop what has been kept for long enough."""
        self.by_sandbox = {k: end for k, end in self.by_sandbox.items() if end.forget_ms > now_ms}
        self.last = {k: end for k, end in self.last.items() if end.forget_ms > now_ms}


def _unless_forgotten(end: End | None, now_ms: int) -> End | None:
    return end if end and end.forget_ms > now_ms else None
