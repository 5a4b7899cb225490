"""What spans and the log say of a lease: whose it is, never what is in it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from oneseek_sandbox.log_lines import log_facts

if TYPE_CHECKING:
    from oneseek_sandbox.leases.lease import Lease, Thread

__all__ = ["facts_of_lease", "log_end", "log_start"]

log = logging.getLogger(__name__)


def facts_of_lease(lease: Lease) -> dict[str, str | bool | int | float]:
    """Return the attributes that name a sandbox."""
    return {
        "sandbox.thread_id": lease.thread.thread_id,
        "sandbox.scope": lease.thread.scope,
        "sandbox.id": lease.sandbox_id,
        "sandbox.generation": lease.generation,
    }


def log_start(lease: Lease, *, found: bool) -> None:
    """Log that a thread got a sandbox; `found` when its files had been there before."""
    placement = lease.placement
    if placement is None:
        return
    message = "Made a sandbox"
    if found:
        message = "Restarted a sandbox" if placement.restarted else "Took over a sandbox"
    facts = _whose(lease.thread, lease.sandbox_id, placement.name)
    log_facts(log, logging.INFO, message, {**facts, "warm": placement.warm or None})


def log_end(thread: Thread, sandbox_id: str, name: str, why: str) -> None:
    """Log that a sandbox is gone, and why."""
    log_facts(
        log, logging.INFO, "Ended a sandbox", {**_whose(thread, sandbox_id, name), "why": why}
    )


def _whose(thread: Thread, sandbox_id: str, name: str) -> dict[str, str]:
    return {
        "scope": thread.scope,
        "thread_id": thread.thread_id,
        "sandbox_id": sandbox_id,
        "name": name,
    }
