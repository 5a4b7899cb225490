"""What went wrong between this client and a worker, as errors of the service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpcore

from oneseek_sandbox.errors import SandboxUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["broken", "failures"]


@contextmanager
def failures() -> Iterator[None]:
    """Turn httpcore's errors into `SandboxUnavailableError`; its `may_have_run` says what is known."""
    try:
        yield
    except (httpcore.ConnectError, httpcore.ConnectTimeout, httpcore.PoolTimeout) as error:
        raise SandboxUnavailableError(
            f"The sandbox does not respond ({_named(error)}). Try again; if this "
            "persists, acquire again: that restarts or replaces it.",
            may_have_run=False,
        ) from error
    except (httpcore.NetworkError, httpcore.TimeoutException, httpcore.ProtocolError) as error:
        raise SandboxUnavailableError(
            f"The sandbox's response was cut off ({_named(error)}). The "
            "operation may have been done; look before you repeat it, or acquire again.",
            may_have_run=True,
        ) from error


def broken(how: str) -> SandboxUnavailableError:
    """Return the error for an answer that is not as answers are."""
    return SandboxUnavailableError(
        f"The sandbox {how}. Look at what was done before you repeat it, or acquire again.",
        may_have_run=True,
    )


def _named(error: Exception) -> str:
    return str(error) or type(error).__name__
