"""Why a command was not run or found; one that fails is an answer instead."""

from __future__ import annotations

from typing import TYPE_CHECKING

from oneseek_sandbox.errors.base import SandboxError

if TYPE_CHECKING:
    from typing import Self

__all__ = [
    "AnswerEvictedError",
    "AnswerLostError",
    "CannotExecuteError",
    "CommandError",
    "CommandNotFoundError",
    "CommandNotStartedError",
    "InputFullError",
    "InputGapError",
    "OffsetAheadError",
    "OutputNotTakenError",
    "OutputTooLargeError",
    "ProcessEndedError",
    "ProcessLostError",
    "ProcessNotFoundError",
    "RequestIdConflictError",
    "RequestIdsExhaustedError",
    "StdinClosedError",
    "TooManyCommandsError",
    "TooManyStreamsError",
]


class CommandError(SandboxError):
    """Raised when a command cannot be run or found; a failing command is not an error."""

    code = "command_error"
    status = 409


class RequestIdConflictError(CommandError):
    """Raised when a `request_id` was already used for a different request."""

    code = "request_id_conflict"


class AnswerEvictedError(CommandError):
    """Raised when the result of a repeated `request_id` is no longer kept; it is not run again."""

    code = "answer_evicted"


class AnswerLostError(CommandError):
    """Raised when the sandbox was restarted after it got this `request_id`; it is not run again.

    The command may have run, and its files may be there; it is not run again.
    """

    code = "answer_lost"

    def __init__(
        self,
        message: str,
        *,
        retry_after_seconds: int | None = None,
        may_have_run: bool | None = True,
    ) -> None:
        super().__init__(
            message, retry_after_seconds=retry_after_seconds, may_have_run=may_have_run
        )


class RequestIdsExhaustedError(CommandError):
    """Raised when a sandbox has seen the maximum number of `request_id`s."""

    code = "request_ids_exhausted"


class OutputNotTakenError(CommandError):
    """Raised when a caller has not read its stream for so long that it is treated as disconnected."""

    code = "output_not_taken"
    status = 408

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the error for a caller that was waited for so long."""
        return cls(
            f"Nothing of this command's output was taken for {seconds:g} s, so its caller counts "
            "as gone: without a request_id the command was cancelled, with one it runs on and "
            "the same call again gets its answer. Read a stream as it comes, or run the command "
            "with its output in a file.",
            may_have_run=True,
        )


class OutputTooLargeError(CommandError):
    """Raised when a command printed more than was asked for, and `overflow` is `error`; it has ended.

    Its details have `exit_code`, `stdout_bytes` and `stderr_bytes`.
    """

    code = "output_too_large"
    status = 422


class CommandNotFoundError(CommandError):
    """Raised when the `request_id` of a cancel is unknown to this sandbox."""

    code = "command_not_found"
    status = 404


class CannotExecuteError(CommandError):
    """Raised when the program of a background process cannot be run; nothing was started."""

    code = "cannot_execute"


class ProcessNotFoundError(CommandError):
    """Raised when no process of this sandbox has the `request_id`."""

    code = "process_not_found"
    status = 404


class ProcessLostError(CommandError):
    """Raised when the sandbox was restarted since the process was started; it is gone.

    What it has done to files may be there.
    """

    code = "process_lost"


class ProcessEndedError(CommandError):
    """Raised when the process has ended, and nothing that it started is left."""

    code = "process_ended"


class StdinClosedError(CommandError):
    """Raised when the process reads no more input, or was started without an open stdin."""

    code = "stdin_closed"


class InputGapError(CommandError):
    """Raised when input is ahead of what the process was given.

    Its details have `stdin_offset`, the position of the next byte.
    """

    code = "input_gap"


class InputFullError(CommandError):
    """Raised when the process has not read enough of its input to take all of this.

    Its details have `stdin_offset`, before which all was taken, and `pending` bytes.
    """

    code = "input_full"
    status = 429
    retryable = True
    default_retry_after_seconds = 1


class OffsetAheadError(CommandError):
    """Raised when output is asked for that was not printed yet; the details have `next_offset`."""

    code = "offset_ahead"
    status = 400


class TooManyStreamsError(CommandError):
    """Raised when as many readers are attached as there may be."""

    code = "too_many_streams"
    status = 429
    retryable = True
    default_retry_after_seconds = 1


class TooManyCommandsError(CommandError):
    """Raised when a sandbox already runs the maximum number of commands."""

    code = "too_many_commands"
    status = 429
    retryable = True
    default_retry_after_seconds = 1


class CommandNotStartedError(CommandError):
    """Raised when no process or memory was available to start the command; it did not run."""

    code = "command_not_started"
    status = 503
    retryable = True
    default_retry_after_seconds = 1
