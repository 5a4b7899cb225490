"""Why there is no lease to work under."""

from __future__ import annotations

from oneseek_sandbox.errors.base import SandboxError

__all__ = [
    "CapacityError",
    "CreationLostError",
    "LeaseError",
    "LeaseNotFoundError",
    "SandboxExpiredError",
    "SandboxGoneError",
    "SandboxLostError",
    "SandboxReleasedError",
    "SandboxTooOldError",
]


class LeaseError(SandboxError):
    """Raised when there is no usable lease."""

    code = "lease_error"
    status = 409


class LeaseNotFoundError(LeaseError):
    """Raised when the thread has no live sandbox, or the `sandbox_id` is unknown."""

    code = "lease_not_found"
    status = 404


class SandboxGoneError(LeaseError):
    """Raised when a `sandbox_id` is no longer the current one of its thread."""

    code = "sandbox_gone"
    status = 410


class SandboxReleasedError(SandboxGoneError):
    """Raised when the sandbox was released."""

    code = "sandbox_released"


class SandboxExpiredError(SandboxGoneError):
    """Raised when the sandbox was idle for longer than its idle timeout, or reached its maximum lifetime."""

    code = "sandbox_expired"


class SandboxLostError(SandboxGoneError):
    """Raised when the sandbox ended unexpectedly, or restarted without its state."""

    code = "sandbox_lost"


class SandboxTooOldError(LeaseError):
    """Raised when a sandbox of an earlier version does not support what the call asks for."""

    code = "sandbox_too_old"


class CapacityError(LeaseError):
    """Raised when no further sandbox can be created now."""

    code = "capacity"
    status = 429
    retryable = True
    default_retry_after_seconds = 10


class CreationLostError(LeaseError):
    """Raised when the thread was released, or another acquire took over, during a creation."""

    code = "creation_lost"
    status = 409
    retryable = True
    default_retry_after_seconds = 1
