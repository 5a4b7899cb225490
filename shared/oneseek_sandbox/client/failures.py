"""What went wrong between this client and a server, as the errors of the service.

No message quotes what was sent or answered: a header may be the key, an answer a file.
"""

from __future__ import annotations

import json
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

__all__ = ["broken", "failures", "not_ours", "refusal", "refusal_of_answer"]

_SERVER_ERRORS: Final = 500
_LONGEST_DELAY_DIGITS: Final = 6


@contextmanager
def failures(url: str) -> Iterator[None]:
    """Turn httpx's errors into `ServerUnreachableError`; its `may_have_run` says what is known."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
        raise ServerUnreachableError(
            f"{url} cannot be reached ({str(error) or type(error).__name__}). Is the provisioner "
            "running, and is sandbox_provisioner_url right?",
            may_have_run=False,
        ) from error
    except httpx.LocalProtocolError:
        raise ServerUnreachableError(
            f"The request to {url} cannot be sent as HTTP; a header of it is not acceptable.",
            may_have_run=False,
        ) from None
    except httpx.TimeoutException as error:
        raise broken(url, "did not answer in time") from error
    except httpx.RequestError as error:
        raise broken(url, f"ended the connection before its answer ({type(error).__name__})") from (
            error
        )


def broken(url: str, how: str) -> ServerUnreachableError:
    """Return the error for an answer that is not whole."""
    return ServerUnreachableError(
        f"{url} {how}. The call may have been done; look before you repeat it.", may_have_run=True
    )


def not_ours(url: str, status: int) -> SandboxError:
    """Return the error for an answer that no oneseek-sandbox server gives."""
    kind = InternalError if 300 <= status < _SERVER_ERRORS else UnavailableError
    return kind(
        f"{url} answered HTTP {status}, but not as an oneseek-sandbox server does. Check "
        "sandbox_provisioner_url, and what stands between. The call may have been done.",
        may_have_run=True,
    )


def refusal_of_answer(url: str, response: httpx.Response, content: bytes) -> SandboxError:
    """Return the error that an answer with another status than 200 tells of."""
    try:
        error = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError, RecursionError):
        error = None
    if not isinstance(error, dict) or "code" not in error:
        return not_ours(url, response.status_code)
    return refusal(error, response.headers)


def refusal(error: Mapping[str, Any], headers: Mapping[str, str]) -> SandboxError:
    """Return an error that a server tells of, of the same class as there.

    Args:
        error: The `error` object of its answer.
    """
    found = error_for_code(str(error.get("code", "")))
    if found is None:
        found = UnavailableError if error.get("retryable") is True else InternalError
    after = headers.get("retry-after", "")
    is_delay = after.isascii() and after.isdigit() and len(after) <= _LONGEST_DELAY_DIGITS
    may_have_run = error.get("may_have_run")
    return found(
        str(error.get("message", "")) or "The server gives no reason.",
        retry_after_seconds=int(after) if is_delay else None,
        may_have_run=may_have_run if isinstance(may_have_run, bool) else None,
    )
