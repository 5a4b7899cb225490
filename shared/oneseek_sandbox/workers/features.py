"""What a sandbox's worker must know for a call: asked of the lease, before anything is sent.

Sandboxes outlive an upgrade: their workers go on as they are. What a worker knows beyond the
protocol's first version it says in the answer to its claim, and the lease keeps it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox.errors import SandboxTooOldError

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Lease

__all__ = ["require", "require_fields", "too_old"]

_OF_FIELDS: Final = {
    "terminal": "terminal",
    "background": "processes",
    "log_bytes": "processes",
    "stdin_open": "processes",
    "stdin_path": "stdin_path",
}
"""The feature that a field of a request needs; a field of the first version needs none."""


def require(lease: Lease, feature: str, name: str) -> None:
    """Refuse what the lease's worker does not know.

    Args:
        name: What the caller asks for: a verb or a field.

    Raises:
        SandboxTooOldError: Its worker has not said `feature`.
    """
    if lease.placement is not None and feature not in lease.placement.features:
        raise too_old(name)


def require_fields(lease: Lease, request: dict[str, Any]) -> None:
    """Refuse a request with a field that the lease's worker does not know; None counts as left out.

    Raises:
        SandboxTooOldError: Its worker lacks the feature of a field.
    """
    for name, feature in _OF_FIELDS.items():
        if request.get(name) is not None:
            require(lease, feature, name)


def too_old(name: str) -> SandboxTooOldError:
    """Return the error for a verb or field that a sandbox's worker does not know."""
    return SandboxTooOldError(
        f"This sandbox was made by an earlier version and does not know {name!r}: nothing was done. "
        "Go on with the calls that it knows, or release it (its files are deleted) and acquire "
        "again for a new one.",
        may_have_run=False,
    )
