"""Commands of Pydantic AI: their timeouts, and what came of them."""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING, Final

from pydantic_ai.workspaces import CommandResult, WorkspaceOutputLimitError, WorkspaceTimeoutError

if TYPE_CHECKING:
    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["result_of", "seconds_of"]

_SHORTEST: Final = 0.1  # seconds; the service refuses less


def seconds_of(timeout: float | None, default: float) -> float:
    """Return a command's limit in seconds.

    Raises:
        ValueError: It is not positive and finite.
    """
    if timeout is None:
        return default
    try:
        is_kept = math.isfinite(timeout) and timeout > 0
    except TypeError:
        is_kept = False
    if not is_kept:
        raise ValueError("timeout must be a positive finite number of seconds, or None")
    return max(float(timeout), _SHORTEST)


def result_of(ended: ExecuteAnswer, seconds: float) -> CommandResult:
    """Return the result of a command that was run with `encoding="base64"`.

    Raises:
        WorkspaceTimeoutError: It was ended at its limit of `seconds`.
        WorkspaceOutputLimitError: Its output is not complete.
    """
    stdout, stderr = base64.b64decode(ended.stdout), base64.b64decode(ended.stderr)
    if ended.timed_out:
        raise WorkspaceTimeoutError(
            f"The command was ended after its limit of {seconds:g} seconds",
            stdout=_text(stdout),
            stderr=_text(stderr),
        )
    for kept, printed, is_cut in (
        (stdout, ended.stdout_bytes, ended.stdout_truncated),
        (stderr, ended.stderr_bytes, ended.stderr_truncated),
    ):
        if is_cut:
            raise WorkspaceOutputLimitError(
                f"The command printed {printed} bytes to one of its outputs, and {len(kept)} are "
                "kept. Write the output to a file, and read parts of it.",
                limit=len(kept),
                stdout=_text(_beginning(stdout, is_cut=ended.stdout_truncated)),
                stderr=_text(_beginning(stderr, is_cut=ended.stderr_truncated)),
            )
    return CommandResult(exit_code=ended.exit_code, stdout=_text(stdout), stderr=_text(stderr))


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")


def _beginning(kept: bytes, *, is_cut: bool) -> bytes:
    """Of head and tail return a part that is head for sure."""
    return kept[: len(kept) // 4] if is_cut else kept
