"""When a failed call may be sent again, and after how long. Pure."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from oneseek_sandbox import models
from oneseek_sandbox.errors import SandboxError, ServerUnreachableError

__all__ = ["Retries", "is_repeatable"]

_FIRST_PAUSE_SECONDS: Final = 0.25
_LONGEST_PAUSE_SECONDS: Final = 10.0


def is_repeatable(request: object) -> bool:
    """Return whether doing a call twice is the same as doing it once.

    Not so: a command without `request_id`, an append, and a write or replace that looks at what was
    there before, since the first time may have changed that. Nor what is named by its thread and
    would do something to the next sandbox, should the first time have met the last one.
    """
    if isinstance(request, models.ExecuteRequest):
        return request.sandbox_id is not None and bool(request.request_id or request.cancel)
    if isinstance(request, models.ReleaseRequest):
        return request.sandbox_id is not None
    if isinstance(request, models.WriteFileTarget):
        return not (request.append or request.create_only or request.if_sha256)
    return not isinstance(request, models.ReplaceRequest | models.SignalRequest)


@dataclass(slots=True)
class Retries:
    """The tries of one call.

    Args:
        seconds: How long tries and pauses may take together, the last try not counted; 0 never
            tries again.
    """

    seconds: float
    failures: int = 0

    def pause(self, error: SandboxError, *, repeatable: bool, took: float = 0) -> float | None:
        """Return after how many seconds to try again; None when the error is final.

        What was never sent may always be sent again.

        Args:
            took: Seconds of the try that failed.
        """
        self.seconds -= took
        unsent = isinstance(error, ServerUnreachableError) and error.may_have_run is False
        if not (unsent or (repeatable and error.retryable)):
            return None
        backoff = min(_FIRST_PAUSE_SECONDS * float(2**self.failures), _LONGEST_PAUSE_SECONDS)
        # Spread, so that what failed together does not come back together.
        pause = max(float(error.retry_after_seconds or 0), backoff * random.uniform(0.5, 1))  # noqa: S311
        if pause > self.seconds:
            return None
        self.failures += 1
        self.seconds -= pause
        return pause
