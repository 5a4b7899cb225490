"""What this service stands on and does not get."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.errors.base import SandboxError

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "ConfigurationError",
    "InternalError",
    "RuntimeUnavailableError",
    "SandboxStartError",
    "SandboxUnavailableError",
    "ShuttingDownError",
    "StoreUnavailableError",
    "UnavailableError",
]


class UnavailableError(SandboxError):
    """Raised when something this service stands on does not answer just now."""

    code = "unavailable"
    status = 503
    retryable = True
    default_retry_after_seconds = 2


class StoreUnavailableError(UnavailableError):
    """Raised when the lease store does not answer; nothing was handed out."""

    code = "store_unavailable"


class RuntimeUnavailableError(UnavailableError):
    """Raised when what makes sandboxes does not answer."""

    code = "runtime_unavailable"

    @classmethod
    def of_state(cls, state: str, error: OSError) -> Self:
        """Return the error for a state folder that failed the system.

        Args:
            state: What it is the state of, and where.
        """
        return cls(
            f"{state} cannot be read or written: {error}. Try again; if this persists, its operator"
            " should check the disk's free space and the folder's permissions."
        )


class SandboxUnavailableError(UnavailableError):
    """Raised when a sandbox does not answer; it is looked at by the next acquire."""

    code = "sandbox_unavailable"


class SandboxStartError(UnavailableError):
    """Raised when a new sandbox could not be started; nothing is left behind."""

    code = "sandbox_start_failed"


class ShuttingDownError(UnavailableError):
    """Raised when this server is stopping and takes no new work."""

    code = "shutting_down"


class ConfigurationError(SandboxError):
    """Raised at start when the settings or this machine do not allow safe work."""

    code = "configuration"


class InternalError(SandboxError):
    """Raised for a fault of our own; the log has the details under the trace id."""

    code = "internal"
