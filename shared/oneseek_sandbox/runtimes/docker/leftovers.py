"""What servers that died in the middle of something left on an engine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from oneseek_sandbox.runtimes.docker.records import CREATED_MS, LISTENER, ROLE, labels_of, name_of

if TYPE_CHECKING:
    from oneseek_sandbox.runtimes.docker.engine import Engine
    from oneseek_sandbox.runtimes.docker.resources import SandboxResources

__all__ = ["LEFTOVER_MS", "remove_leftovers"]

LEFTOVER_MS: Final = 600_000
"""How old what belongs to no sandbox must be: a younger one may just be being made."""


def remove_leftovers(
    engine: Engine, resources: SandboxResources, label: str, *, now_ms: int
) -> None:
    """Remove listeners, volumes and networks whose sandbox's container is not there.

    Args:
        label: What those that are looked at carry.
    """
    found = [
        *engine.containers(label, f"{ROLE}={LISTENER}"),
        *engine.volumes(label),
        *engine.networks(label),
    ]
    latest = now_ms - LEFTOVER_MS
    old = {name_of(resource) for resource in found if int(labels_of(resource)[CREATED_MS]) < latest}
    # Looked at last: a sandbox that is made meanwhile is not taken for a leftover.
    for name in old - {name_of(c) for c in engine.containers(label, f"{ROLE}=sandbox")}:
        resources.remove(name)
