"""A sandbox as one look at the engine shows it: containers, and what is written about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oneseek_sandbox.runtimes.docker import container_state
from oneseek_sandbox.runtimes.docker.records import (
    LISTENER,
    ROLE,
    Record,
    labels_of,
    name_of,
    newest_of,
)
from oneseek_sandbox.runtimes.runtime import SandboxObject

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.docker.engine import Resource

__all__ = ["Found", "found_among"]


@dataclass(frozen=True, slots=True)
class Found:
    """A sandbox that is there."""

    uid: str
    name: str
    record: Record
    is_up: bool
    address: str

    def as_object(self) -> SandboxObject:
        """Return it as the runtime's callers know it."""
        return SandboxObject(
            uid=self.uid,
            name=self.name,
            address=self.address,
            labels=self.record.labels,
            claimed=self.record.claimed,
            restarted=self.record.restarted,
        )


def found_among(containers: list[Resource], written: dict[str, list[Resource]]) -> list[Found]:
    """Return the sandboxes among listed containers.

    Args:
        written: The volumes that are records, by sandbox.
    """
    listeners = {name_of(c): c for c in containers if labels_of(c)[ROLE] == LISTENER}
    found = []
    for container in containers:
        labelled = labels_of(container)
        record = newest_of(labelled, written.get(name_of(container), []))
        if labelled[ROLE] != "sandbox" or record is None:
            continue
        listener = listeners.get(name_of(container))
        is_up = container_state.is_running(container) and container_state.is_running(listener)
        address = container_state.address_of(listener)
        found.append(Found(container["Id"], name_of(container), record, is_up, address))
    return found
