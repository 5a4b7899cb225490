"""What spans say of requests and answers: named here one by one, so that nothing else ever slips in.

Never commands, environments, contents, output or paths.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from oneseek_sandbox.telemetry.recorders import Attribute

__all__ = ["facts_of"]

_TOLD: Final = {
    "thread_id": "sandbox.thread_id",
    "scope": "sandbox.scope",
    "sandbox_id": "sandbox.id",
    "generation": "sandbox.generation",
    "reused": "sandbox.reused",
    "warm": "sandbox.warm",
    "restarted": "sandbox.restarted",
    "exit_code": "sandbox.exit_code",
    "timed_out": "sandbox.timed_out",
    "killed_by": "sandbox.killed_by",
    "background": "sandbox.background",
    "stdout_bytes": "sandbox.stdout_bytes",
    "stderr_bytes": "sandbox.stderr_bytes",
    "duration_ms": "sandbox.duration_ms",
    "size": "sandbox.file_bytes",
    "created": "sandbox.file_created",
    "truncated": "sandbox.truncated",
    "replacements": "sandbox.replacements",
    "cancelled": "sandbox.cancelled",
    "released": "sandbox.released",
    "already_released": "sandbox.already_released",
    "expired": "sandbox.expired",
    "adopted": "sandbox.adopted",
    "lost": "sandbox.lost",
    "orphans": "sandbox.orphans",
}


def facts_of(said: object) -> dict[str, Attribute]:
    """Return the attributes that a request or an answer gives, a model or a dataclass."""
    found = {}
    kind: type = type(said)
    for field, attribute in _told_by(kind):
        value = getattr(said, field)
        if isinstance(value, str | bool | int | float):
            found[attribute] = value
    return found


@functools.cache
def _told_by(kind: type) -> list[tuple[str, str]]:
    """Return which fields of a type are recorded, once: looking for missing ones is slow."""
    fields = getattr(kind, "model_fields", None) or getattr(kind, "__dataclass_fields__", {})
    return [(field, _TOLD[field]) for field in fields if field in _TOLD]
