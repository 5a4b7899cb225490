"""What the probe inside a sandbox found (`guest/network_probe.py`)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Findings"]


@dataclass(frozen=True)
class Findings:
    """What the probe printed.

    Attributes:
        reached: By target: `open`, `refused`, `silent`, or the system's word.
        facts: The rest, by name.
    """

    reached: Mapping[str, str]
    facts: Mapping[str, Any] = field(default_factory=dict)
