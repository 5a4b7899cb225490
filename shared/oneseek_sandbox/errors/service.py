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
    "ServerBusyError",
    "ShuttingDownError",
    "StoreUnavailableError",
    "UnavailableError",
]


class UnavailableError(SandboxError):
    """Raised when something that this service depends on is temporarily unavailable."""

    code = "unavailable"
    status = 503
    retryable = True
    default_retry_after_seconds = 2


class StoreUnavailableError(UnavailableError):
    """Raised when the lease store is not available; nothing was handed out."""

    code = "store_unavailable"


class RuntimeUnavailableError(UnavailableError):
    """Raised when the runtime is not available."""

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
    """Raised when a sandbox does not respond; the next acquire finds out why."""

    code = "sandbox_unavailable"


class SandboxStartError(UnavailableError):
    """Raised when a new sandbox could not be started; nothing is left behind."""

    code = "sandbox_start_failed"


class ShuttingDownError(UnavailableError):
    """Raised when this server is shutting down and accepts no new work."""

    code = "shutting_down"


class ServerBusyError(UnavailableError):
    """Raised when a server holds as much output of other calls as it may; nothing was started."""

    code = "server_busy"


class ConfigurationError(SandboxError):
    """Raised at startup when the settings are invalid or this machine does not allow isolation."""

    code = "configuration"


class InternalError(SandboxError):
    """Raised for an internal error; the log has the details under the trace ID."""

    code = "internal"
