"""What a claim says to a worker, and what is to be made of the answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from oneseek_sandbox.errors import CreationLostError
from oneseek_sandbox.leases.given import read_mapping
from oneseek_sandbox.workers.connection import PROTOCOLS, unknown_protocol
from oneseek_sandbox.workers.replies import Claimed, error_from, parse

__all__ = ["ClaimConflictError", "Variables", "claim_body", "read_claimed"]

_OK: Final = 200


class ClaimConflictError(Exception):
    """Raised when a worker already belongs to somebody with another token."""


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of all commands, as `write_mapping` has them, and how often they changed."""

    text: str = field(repr=False)
    version: int


def claim_body(token: str, generation: int, idle_ms: int, env: Variables | None) -> dict[str, Any]:
    """Return the request; without `env` it is one that every worker knows."""
    body = {"token": token, "generation": generation, "idle_seconds": max(1, idle_ms // 1000)}
    if env is None:
        return body
    return body | {"env": read_mapping(env.text), "env_version": env.version}


def read_claimed(status: int, content: bytes) -> Claimed:
    """Return what the worker says that is now ours.

    Raises:
        ClaimConflictError: It belongs to somebody else, or does not know any more who claimed the
            process before it (its marker is damaged).
        CreationLostError: A later generation claimed it.
        SandboxTooOldError: It knows nothing of variables.
    """
    if status == _OK:
        claimed = parse(Claimed, content)
        if claimed.protocol not in PROTOCOLS:
            raise unknown_protocol(claimed.protocol)
        return claimed
    if b"claim_conflict" in content or b"restarted" in content:
        raise ClaimConflictError("the worker belongs to another token, or does not know whose")
    if b"stale_generation" in content:
        raise CreationLostError("A newer acquire took this sandbox over. Acquire again.")
    raise error_from(status, content)
