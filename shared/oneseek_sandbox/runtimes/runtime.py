"""The runtime: what makes, finds and ends sandboxes, and what every implementation promises.

A runtime never talks to the worker inside and knows no lease. Its objects carry labels (thread,
scope, generation, idle timeout), so that a sandbox can be found again when the store was emptied.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from oneseek_sandbox.leases.lease import Thread

__all__ = ["Check", "Labels", "ObjectState", "Runtime", "SandboxObject"]

ObjectState = Literal["running", "stopped", "gone"]
"""`stopped`: no process, but the files are there and `adopt` can start it again."""


@dataclass(frozen=True, slots=True)
class Labels:
    """What a sandbox object says about itself.

    Attributes:
        created_ms: When it was first labelled.
        labels: What acquires gave, as `write_mapping` has it; empty for none.
        env: Acquires have given variables for its commands, which are in the lease alone.
    """

    thread: Thread
    generation: int
    idle_ms: int
    sandbox_id: str
    created_ms: int = 0
    labels: str = ""
    env: bool = False

    def split(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return by name what every version knows, and what acquires gave: kept apart on an object.

        An earlier version that met names which it does not know would take the object for damaged.
        """
        values = asdict(self)
        given = {name: values.pop(name) for name in ("labels", "env")}
        return values, {name: value for name, value in given.items() if value}


@dataclass(frozen=True, slots=True)
class SandboxObject:
    """A sandbox as the runtime sees it.

    Attributes:
        uid: Unique for ever; decides the worker's token.
        name: For people and for the runtime's own calls.
        address: Where the worker listens, or will: `unix:/path` or `tcp:ip:port`.
        labels: None for a pool sandbox that nobody took yet.
        claimed: Some acquire got as far as claiming its worker.
        restarted: This call started a new process for files that were there before.
    """

    uid: str
    name: str
    address: str
    labels: Labels | None
    claimed: bool = False
    warm: bool = False
    restarted: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One thing the self-test looked at.

    Attributes:
        name: Short, like `network off`.
        passed: Whether it holds here, now.
        required: Whether the server refuses to start without it.
        detail: What was seen.
        fix: What to do on this machine when it does not hold; empty when it does.
    """

    name: str
    passed: bool
    required: bool
    detail: str = ""
    fix: str = field(default="")


class Runtime(Protocol):
    """The promises every runtime keeps.

    Methods raise `RuntimeUnavailableError` when what they stand on does not answer.
    """

    name: str

    async def open(self) -> None:
        """Prepare, and refuse with `ConfigurationError` where sandboxes would not be isolated."""
        ...

    async def close(self) -> None:
        """Let go of connections; sandboxes stay."""
        ...

    async def find(self, thread: Thread) -> list[SandboxObject]:
        """Return the thread's objects, newest generation first; terminating ones are not among them."""
        ...

    async def create(self, labels: Labels) -> SandboxObject:
        """Take a started sandbox or start one, labelled; its worker may still be starting.

        Raises:
            CapacityError: No disk, memory or quota for another.
            SandboxStartError: It cannot be started; nothing is left behind.
        """
        ...

    async def adopt(self, sandbox: SandboxObject, labels: Labels) -> SandboxObject:
        """Label a found object anew, and start it again if it had stopped.

        Raises:
            CreationLostError: It changed since it was found, or carries a greater generation.
            SandboxLostError: It is gone.
        """
        ...

    async def mark_claimed(self, sandbox: SandboxObject) -> None:
        """Record that its worker was claimed; an unclaimed one may be deleted as an orphan.

        Raises:
            CreationLostError: It was labelled anew since.
            SandboxLostError: It is gone.
        """
        ...

    async def annotate(self, uid: str, name: str, labels: Labels) -> None:
        """Write `labels.labels` and `labels.env` on an object that is in use; all else stays.

        Raises:
            CreationLostError: It does not carry this generation and sandbox_id.
            SandboxLostError: It is gone.
        """
        ...

    async def inspect(self, uid: str, name: str) -> ObjectState:
        """Say what became of an object; `gone` only when that is certain."""
        ...

    async def explain(self, uid: str, name: str) -> str:
        """Say in a sentence why an object does not answer; empty when nothing is known."""
        ...

    async def stop(self, uid: str, name: str, *, generation: int | None = None) -> bool:
        """End an object and its files, by uid; True when it is proved gone, False to ask again.

        With `generation`, only if it is not labelled with a greater one (a late writer must not
        end its successor's sandbox); then False.
        """
        ...

    async def maintain(self) -> None:
        """Do the upkeep that only `cleanup_idle` does, like sizing a pool."""
        ...

    async def check(self) -> list[Check]:
        """Start a real sandbox and report what is isolated in it."""
        ...

    async def shortages(self) -> Sequence[str]:
        """Return what keeps another sandbox from being made just now; cheap, and asks no server."""
        ...

    async def damaged(self) -> Sequence[str]:
        """Return where sandboxes were put whose records cannot be understood; nobody deletes them."""
        ...

    # Last, because it hides the type of the same name from what follows.
    async def list(self) -> list[SandboxObject]:
        """Return every labelled object."""
        ...
