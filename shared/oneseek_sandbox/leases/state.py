"""The life of one lease: the table of its states, and when it is over.

Pure: no I/O and no clock. Whatever moves a lease from one state to another is in this table;
`book.py` applies it to many leases, `scripts/*.lua` say the same in Redis, and one test runs both
side by side.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final, Literal, get_args

from oneseek_sandbox.errors import InternalError
from oneseek_sandbox.leases.background import BACKGROUND, busy_until
from oneseek_sandbox.leases.given import Given
from oneseek_sandbox.leases.keys import noted
from oneseek_sandbox.leases.store import Creation, Lease, Placement, Thread

if TYPE_CHECKING:
    from oneseek_sandbox.leases.refusals import RefusalCode

__all__ = [
    "BACKGROUND",
    "STATES",
    "TRANSITIONS",
    "Event",
    "LeaseRecord",
    "State",
    "next_state",
    "noted",
]

State = Literal["none", "creating", "ready", "restarting"]
STATES: Final[frozenset[State]] = frozenset(get_args(State))
Event = Literal[
    "begin",
    "renew",
    "commit",
    "abandon",
    "lapse",
    "use",
    "suspect",
    "clear",
    "tell",
    "restart",
    "release",
    "expire",
    "lose",
]

TRANSITIONS: Final[dict[tuple[State, Event], State]] = {
    ("none", "begin"): "creating",
    ("creating", "renew"): "creating",
    ("creating", "commit"): "ready",
    ("creating", "abandon"): "none",
    ("creating", "lapse"): "none",
    ("creating", "release"): "none",
    ("ready", "use"): "ready",
    ("ready", "suspect"): "ready",
    ("ready", "clear"): "ready",
    ("ready", "tell"): "ready",
    ("ready", "restart"): "restarting",
    ("ready", "release"): "none",
    ("ready", "expire"): "none",
    ("ready", "lose"): "none",
    ("restarting", "restart"): "restarting",
    ("restarting", "renew"): "restarting",
    ("restarting", "commit"): "ready",
    # The files may still be there: whoever acquires next looks at it, as at any suspect.
    ("restarting", "lapse"): "ready",
    ("restarting", "use"): "restarting",
    ("restarting", "abandon"): "none",
    ("restarting", "release"): "none",
    ("restarting", "expire"): "none",
}
"""`lapse`: a creation was not renewed in time. `use`: activity, at either end of an operation.
`tell`: the thread is told that its sandbox is fresh or was restarted.
"""


def next_state(state: State, event: Event) -> State:
    """Return where `event` leads.

    Raises:
        InternalError: The table has no such transition.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InternalError(f"A lease that is {state} cannot {event}.") from None


@dataclass(slots=True)
class LeaseRecord(Given):
    """One lease as a store keeps it.

    Attributes:
        attempt: Of the creation under way, or of the last one.
        deadline_ms: When the creation under way lapses.
        pins: Deadline of each operation in flight; those in the past do not count.
        requests: By digest of a `request_id`: where it was sent, as `noted` writes it.
        teller: The acquire that is about to tell the news of the placement, until `telling_ms`.
    """

    thread: Thread
    sandbox_id: str
    generation: int
    attempt: str
    deadline_ms: int
    idle_ms: int
    created_ms: int
    used_ms: int
    ended_generation: int = 0
    ends_ms: int = 0
    suspect: bool = False
    placement: Placement | None = None
    pins: dict[str, int] = field(default_factory=dict)
    state: State = "creating"
    requests: dict[str, str] = field(default_factory=dict)
    teller: str = ""
    telling_ms: int = 0

    def move(self, event: Event) -> None:
        """Follow the table."""
        self.state = next_state(self.state, event)

    @property
    def expires_ms(self) -> int:
        """When it ends if nothing more happens and nothing is pinned."""
        if self.state == "creating":
            return self.deadline_ms
        idle_end = self.used_ms + self.idle_ms
        return min(idle_end, self.ends_ms) if self.ends_ms else idle_end

    @property
    def over_ms(self) -> int:
        """From when on it may be ended: pins and a restart under way hold it a little longer."""
        holds = [self.expires_ms, *self.pins.values()]
        if self.state == "restarting":
            holds.append(self.deadline_ms)
        return max(holds)

    def is_retired(self, now_ms: int) -> bool:
        """Return whether its maximum lifetime has passed: nothing new starts, pins may finish."""
        return self.ends_ms != 0 and now_ms >= self.ends_ms

    def busy_until_ms(self, now_ms: int) -> int:
        """Return until when an acquire has to wait; 0 when it need not.

        Nobody is given a sandbox before its news was reported, or their teller is given up.
        """
        until_ms = self.deadline_ms
        if self.state == "ready":
            until_ms = self.telling_ms if self.has_news else 0
            if self.is_retired(now_ms):
                until_ms = self.over_ms
        return until_ms if now_ms < until_ms else 0

    @property
    def has_news(self) -> bool:
        """Return whether there is news of the sandbox to report."""
        return self.placement is not None and (self.placement.fresh or self.placement.restarted)

    def commit(
        self,
        placement: Placement,
        now_ms: int,
        lifetime_ms: int,
        *,
        created_ms: int,
        idle_ms: int,
        unasked: bool,
    ) -> None:
        """Become ready; the lifetime begins with the first commit of the sandbox in any lease."""
        if self.state == "creating" or not unasked:
            self.used_ms = now_ms
        if self.state == "creating":
            self.created_ms = min(created_ms, now_ms) or now_ms
            self.ends_ms = self.created_ms + lifetime_ms if lifetime_ms else 0
            self.idle_ms = idle_ms or self.idle_ms
        self.move("commit")
        self.placement, self.suspect, self.teller, self.telling_ms = placement, False, "", 0
        self.pins.pop(BACKGROUND, None)  # of a process before this one

    def restart(self, attempt: str, deadline_ms: int) -> Creation:
        """Begin to start the same sandbox again."""
        self.move("restart")
        self.attempt, self.deadline_ms = attempt, deadline_ms
        return self.creation()

    def lapse(self) -> None:
        """Give up a restart that was not renewed; its holder can no longer commit."""
        self.move("lapse")
        self.suspect, self.attempt = True, ""

    def mark(self, *, suspect: bool) -> None:
        """Put or take away the mark of suspicion."""
        self.move("suspect" if suspect else "clear")
        self.suspect = suspect

    def take_news(self, teller: str, now_ms: int, until_ms: int) -> bool:
        """Return whether `teller` is to tell what is new, and keep others from it until then."""
        self.move("tell")
        if not self.has_news or (now_ms < self.telling_ms and teller != self.teller):
            return False
        self.teller, self.telling_ms = teller, until_ms
        return True

    def settle_news(self, teller: str, *, heard: bool) -> None:
        """Let go of the news, known to the thread or for others to tell."""
        self.move("tell")
        if teller != self.teller:
            return
        self.teller, self.telling_ms = "", 0
        if heard and self.placement:
            self.placement = replace(self.placement, fresh=False, restarted=False)

    def use(self, now_ms: int) -> None:
        """Count activity, and drop pins that ended by themselves."""
        self.move("use")
        self.used_ms = now_ms
        self.pins = {pin: until for pin, until in self.pins.items() if until > now_ms}

    def refuses(self, now_ms: int, *, named: bool) -> RefusalCode | None:
        """Return why no operation may begin under it; `named` says that the caller knows its id."""
        if self.state != "ready":
            return "being_created" if self.state == "creating" else "restarting"
        if self.is_retired(now_ms):
            return "expired" if named else "no_lease"
        return None

    def note(
        self, request: str | None, sent: str | None, pin_id: str, most: int
    ) -> RefusalCode | None:
        """Note where a request is sent, or return why it must not be; of one `sent` only look."""
        boot_id = self.placement.boot_id if self.placement else ""
        here, mine = noted(boot_id, ""), noted(boot_id, pin_id)
        if sent is not None and not self.requests.get(sent, here).startswith(here):
            return "answer_lost"
        if request is None:
            return None
        seen = self.requests.get(request)
        if seen is None:
            if len(self.requests) >= most:
                return "request_ids_exhausted"
            self.requests[request] = mine
        elif not seen.startswith(here):
            return "answer_lost"
        elif seen != mine:
            # A second pin under it: neither may erase it, as it does not know how the other fared.
            self.requests[request] = here
        return None

    def erase(self, request: str | None, lease: Lease, pin_id: str) -> None:
        """Forget a request that did not start, if the pin that says so is the only one of it."""
        if request is not None and self.requests.get(request) == noted(lease.boot_id, pin_id):
            del self.requests[request]

    def is_seen_by(self, lease: Lease) -> bool:
        """Return whether `lease` shows this very sandbox process, not one before a restart."""
        seen, have = lease.placement, self.placement
        return lease.sandbox_id == self.sandbox_id and (
            seen is None or (have is not None and seen.boot_id == have.boot_id)
        )

    def lease(self, now_ms: int) -> Lease:
        """Return what the port shows of it."""
        return Lease(
            thread=self.thread,
            sandbox_id=self.sandbox_id,
            generation=self.generation,
            state="ready" if self.state == "ready" else "creating",
            placement=self.placement if self.state == "ready" else None,
            idle_ms=self.idle_ms,
            created_ms=self.created_ms,
            used_ms=self.used_ms,
            expires_ms=self.expires_ms,
            ends_ms=self.ends_ms,
            suspect=self.suspect,
            pins=sum(until > now_ms for pin, until in self.pins.items() if pin != BACKGROUND),
            busy_until_ms=busy_until(self.pins, now_ms),
            labels=self.labels,
            env_version=self.env_version,
            env_lost=self.env_lost,
        )

    def creation(self) -> Creation:
        """Return the right to make it."""
        return Creation(
            thread=self.thread,
            sandbox_id=self.sandbox_id,
            generation=self.generation,
            attempt=self.attempt,
            idle_ms=self.idle_ms,
            deadline_ms=self.deadline_ms,
            ended_generation=self.ended_generation,
            placement=self.placement,
            labels=self.labels,
            env_version=self.env_version,
        )
