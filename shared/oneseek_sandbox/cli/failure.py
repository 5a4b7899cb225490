"""How a command says that it failed."""

from __future__ import annotations

from typing import Final

__all__ = ["EXIT_ERROR", "EXIT_INCOMPLETE", "EXIT_UNREACHABLE", "EXIT_USAGE", "CommandLineError"]

EXIT_ERROR: Final = 1
EXIT_USAGE: Final = 2
EXIT_UNREACHABLE: Final = 69
"""EX_UNAVAILABLE of sysexits.h."""
EXIT_INCOMPLETE: Final = 74
"""EX_IOERR of sysexits.h: output is missing."""


class CommandLineError(Exception):
    """Raised to end the program with a message on stderr.

    Args:
        message: What happened and what to do; one line, unless it holds commands to paste.
        exit_status: 1 to 125.
        code: The service's word for it; empty when the service has said nothing.
        retryable: The same call may succeed later.
    """

    def __init__(
        self,
        message: str,
        exit_status: int = EXIT_ERROR,
        *,
        code: str = "",
        retryable: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exit_status = exit_status
        self.code = code
        self.retryable = retryable
