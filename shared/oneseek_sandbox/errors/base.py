"""The base of every error, and what it carries."""

from __future__ import annotations

from typing import ClassVar, Self

__all__ = ["SandboxError"]


class SandboxError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        message: What happened, to what, and what to do next.
        retry_after_seconds: When the same call is worth another try; sent as `Retry-After`.
        may_have_run: Whether a command of this call may have started before it failed.

    Attributes:
        trace_id: Of the call in a server's log, when a server told of the error.
        details: Figures that a program goes on with, by name; which ones, the code says.
    """

    code: ClassVar[str] = "sandbox_error"
    status: ClassVar[int] = 500
    retryable: ClassVar[bool] = False
    default_retry_after_seconds: ClassVar[int | None] = None

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        may_have_run: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_seconds = (
            self.default_retry_after_seconds if retry_after_seconds is None else retry_after_seconds
        )
        self.may_have_run = may_have_run
        self.trace_id: str | None = None
        self.details: dict[str, int] = {}

    def having(self, **details: int) -> Self:
        """Return it with details."""
        self.details |= details
        return self
