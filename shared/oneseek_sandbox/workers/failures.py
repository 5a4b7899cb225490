"""What went wrong between this client and a worker, as errors of the service."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from oneseek_sandbox.errors import SandboxUnavailableError
from oneseek_sandbox.workers.wire import CutOffError, NotReachedError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["broken", "failures"]


@contextmanager
def failures() -> Iterator[None]:
    """Turn a connection's errors into `SandboxUnavailableError`; its `may_have_run` says what is known."""
    try:
        yield
    except NotReachedError as error:
        raise SandboxUnavailableError(
            f"The sandbox does not respond ({error}). Try again; if this "
            "persists, acquire again: that restarts or replaces it.",
            may_have_run=False,
        ) from error
    except CutOffError as error:
        raise SandboxUnavailableError(
            f"The sandbox's response was cut off ({error}). The "
            "operation may have been done; look before you repeat it, or acquire again.",
            may_have_run=True,
        ) from error


def broken(how: str) -> SandboxUnavailableError:
    """Return the error for an answer that is not as answers are."""
    return SandboxUnavailableError(
        f"The sandbox {how}. Look at what was done before you repeat it, or acquire again.",
        may_have_run=True,
    )
