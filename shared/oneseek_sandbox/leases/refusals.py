"""What a store says when it refuses; every store says it in the same words.

The codes are also what the Lua scripts answer (`{'refused', code}`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from oneseek_sandbox.errors import (
    AnswerLostError,
    CapacityError,
    CreationLostError,
    LeaseNotFoundError,
    RequestIdsExhaustedError,
    SandboxError,
    SandboxExpiredError,
    SandboxLostError,
    SandboxReleasedError,
    SandboxUnavailableError,
)

if TYPE_CHECKING:
    from oneseek_sandbox.leases.store import Thread

__all__ = ["RefusalCode", "refusal"]

RefusalCode = Literal[
    "answer_lost",
    "being_created",
    "capacity",
    "creation_lost",
    "expired",
    "lost",
    "no_lease",
    "released",
    "request_ids_exhausted",
    "restarting",
    "unknown",
]

_REFUSALS: Final[dict[RefusalCode, tuple[type[SandboxError], str]]] = {
    "answer_lost": (
        AnswerLostError,
        "The sandbox of thread {thread!r} was restarted after it got a command with this "
        "request_id: the command may have run, its result is lost, and it is not run again. "
        "Check what it did, then use a new request_id.",
    ),
    "being_created": (
        LeaseNotFoundError,
        "The sandbox of thread {thread!r} is still being created; acquire it to wait for it.",
    ),
    "capacity": (
        CapacityError,
        "No sandbox for thread {thread!r}: the maximum number of sandboxes is live. "
        "Release one that is not needed, or try again later.",
    ),
    "creation_lost": (
        CreationLostError,
        "The sandbox of thread {thread!r} was released, replaced or created by another "
        "caller in the meantime; acquire it again.",
    ),
    "expired": (
        SandboxExpiredError,
        "Sandbox {sandbox} was idle for too long or reached its maximum lifetime; its files are "
        "gone. Acquire a new one.",
    ),
    "lost": (
        SandboxLostError,
        "Sandbox {sandbox} ended unexpectedly; its files are gone. Acquire a new one.",
    ),
    "no_lease": (
        LeaseNotFoundError,
        "Thread {thread!r} has no sandbox; acquire one first.",
    ),
    "released": (
        SandboxReleasedError,
        "Sandbox {sandbox} was released; acquire a new one.",
    ),
    "request_ids_exhausted": (
        RequestIdsExhaustedError,
        "The sandbox of thread {thread!r} has used as many request_ids as are remembered; run "
        "commands without one, or release it and acquire a new one.",
    ),
    "restarting": (
        SandboxUnavailableError,
        "The sandbox of thread {thread!r} is being restarted; try again.",
    ),
    "unknown": (
        LeaseNotFoundError,
        "Sandbox {sandbox} is unknown; acquire one by its thread_id.",
    ),
}


def refusal(
    code: RefusalCode, *, thread: Thread | None = None, sandbox_id: str | None = None
) -> SandboxError:
    """Return the error for `code`, to be raised."""
    error, text = _REFUSALS[code]
    name = thread.thread_id if thread else ""
    return error(text.format(thread=name, sandbox=sandbox_id or ""))
