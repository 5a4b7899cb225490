"""An object on its way to be a sandbox, and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from oneseek_sandbox.runtimes.runtime import Labels

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Creation
    from oneseek_sandbox.runtimes.runtime import SandboxObject

__all__ = ["Taken", "labels_for"]


@dataclass(frozen=True, slots=True)
class Taken:
    """An object on its way to be a creation's sandbox.

    Attributes:
        found: It was claimed before, so there are files in it.
        idle_ms: Its own idle timeout, to be kept; 0 for the creation's.
    """

    creation: Creation
    sandbox: SandboxObject
    found: bool
    idle_ms: int = 0

    @property
    def made_ms(self) -> int:
        """When its workspace was made; 0 for now."""
        return self.sandbox.labels.created_ms if self.found and self.sandbox.labels else 0

    @property
    def labels(self) -> str:
        """What earlier acquires called it; empty for nothing."""
        return self.sandbox.labels.labels if self.sandbox.labels else ""

    @property
    def had_env(self) -> bool:
        """Whether acquires have given variables for its commands, whatever became of them."""
        return self.found and self.sandbox.labels is not None and self.sandbox.labels.env


def labels_for(creation: Creation, idle_ms: int, before: Labels | None = None) -> Labels:
    """Return what an object is to say; what its creation does not know stays as it was before."""
    return Labels(
        thread=creation.thread,
        generation=creation.generation,
        idle_ms=idle_ms,
        sandbox_id=creation.sandbox_id,
        labels=creation.labels or (before.labels if before else ""),
        env=creation.env_version > 0 or (before is not None and before.env),
    )
