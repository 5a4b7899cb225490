"""What went wrong between this client and a server, as the errors of the service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import httpx

from oneseek_sandbox.errors import (
    InternalError,
    SandboxError,
    ServerUnreachableError,
    UnavailableError,
    error_for_code,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["failures", "refusal"]

_SERVER_ERRORS: Final = 500


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Turn httpx's errors into `ServerUnreachableError`; its `may_have_run` says what is known."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ServerUnreachableError(
            f"{url} cannot be reached ({_named(error)}). Is the provisioner running, and is "
            "sandbox_provisioner_url right?",
            may_have_run=False,
        ) from error
    except httpx.TimeoutException as error:
        raise ServerUnreachableError(
            f"{url} did not answer in time. The call may have been done; look before you repeat it.",
            may_have_run=True,
        ) from error
    except httpx.TransportError as error:
        raise ServerUnreachableError(
            f"{url} ended the connection before its answer ({_named(error)}). The call may have "
            "been done; look before you repeat it.",
            may_have_run=True,
        ) from error


def refusal(error: Mapping[str, Any], headers: Mapping[str, str]) -> SandboxError:
    """Return the error that a server's answer tells of, of the same class as there.

    Args:
        error: The answer's `error`; of an answer that has none, its `status`.
    """
    code, status = str(error.get("code", "")), int(error.get("status", 0))
    message = str(error.get("message", "")) or _foreign(status)
    found = error_for_code(code)
    if found is None:
        found = (
            UnavailableError
            if error.get("retryable") or status >= _SERVER_ERRORS
            else InternalError
        )
    after = headers.get("retry-after", "")
    may_have_run = error.get("may_have_run")
    return found(
        message,
        retry_after_seconds=int(after) if after.isascii() and after.isdigit() else None,
        may_have_run=may_have_run if isinstance(may_have_run, bool) else None,
    )


def _foreign(status: int) -> str:
    return (
        f"The server answered HTTP {status}, but not as an oneseek-sandbox server does. Check "
        "sandbox_provisioner_url, and what stands between."
    )


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
