"""What spans say of a lease."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from oneseek_sandbox.leases.lease import Lease

__all__ = ["facts_of_lease"]


def facts_of_lease(lease: Lease) -> dict[str, str | bool | int | float]:
    """Return the attributes that name a sandbox."""
    return {
        "sandbox.thread_id": lease.thread.thread_id,
        "sandbox.scope": lease.thread.scope,
        "sandbox.id": lease.sandbox_id,
        "sandbox.generation": lease.generation,
    }
