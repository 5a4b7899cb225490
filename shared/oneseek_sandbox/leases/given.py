"""What acquires give to a lease beside its time: labels for its owner, variables for its commands.

Both are kept as the text that `write_mapping` makes, so that all stores compare them alike.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Given", "is_mapping", "read_mapping", "write_mapping"]


@dataclass(slots=True, kw_only=True)
class Given:
    """What a lease was given.

    Attributes:
        labels: As `write_mapping` has them; empty when none were given.
        env: Likewise. Never shown with the lease.
        env_version: How often `env` changed; 0 when none was given, so that a worker can tell.
        env_lost: The sandbox once had an `env` that this store knows nothing of.
    """

    labels: str = ""
    env: str = field(default="", repr=False)
    env_version: int = 0
    env_lost: bool = False

    def give(self, labels: str | None, env: str | None) -> None:
        """Replace what is given; None leaves it as it is."""
        if labels is not None:
            self.labels = labels
        if env is not None:
            if env != self.env:
                self.env, self.env_version = env, self.env_version + 1
            self.env_lost = False

    def inherit(self, labels: str, *, env_lost: bool) -> None:
        """Take over what the sandbox says of itself, unless something else was given."""
        self.labels = self.labels or labels
        self.env_lost = env_lost and not self.env_version


def write_mapping(values: Mapping[str, str] | None) -> str | None:
    """Return a mapping as text, the same for the same content; None when there is none."""
    if values is None:
        return None
    return json.dumps(values, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def is_mapping(text: object) -> bool:
    """Return whether something that others may have changed is such a text."""
    try:
        values = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return False
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def read_mapping(text: str) -> dict[str, str]:
    """Return the mapping of a text; an empty one of none."""
    values: dict[str, str] = json.loads(text) if text else {}
    return values
