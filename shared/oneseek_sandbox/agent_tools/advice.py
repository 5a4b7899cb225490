"""Errors as text for a model: what happened, and what to do next with these tools. Pure.

The errors' own messages speak of the verbs and to a backend; a model has the tools only.
"""

from __future__ import annotations

from typing import Final

from oneseek_sandbox import errors

__all__ = ["error_text"]

_NOT_YOURS: Final = (
    "You cannot fix this, and trying again does not help: tell the user, and go on without the "
    "sandbox."
)
# Fields of requests that no tool has: they come from sandbox_max_output_bytes.
_SETTINGS_OWN: Final = ("max_output_bytes:", "limit:")
_LOOK: Final = "Look with sandbox_ls or sandbox_read_file at what it did before you repeat it."

_NEXT: Final[dict[type[errors.SandboxError], str]] = {
    errors.CapacityError: "All sandboxes are in use. Do something else first and call it again "
    "later, in {seconds} s at the earliest; if this persists, tell the user.",
    errors.PathOutsideWorkspaceError: "Paths are absolute and below /workspace, without '..' and "
    "without symlinks that lead out of it.",
    errors.WorkspaceFileNotFoundError: "Check the path with sandbox_ls.",
    errors.IsADirectoryInWorkspaceError: "List it with sandbox_ls, or name a file in it.",
    errors.NotADirectoryInWorkspaceError: "Check the path with sandbox_ls.",
    errors.WorkspacePermissionError: "Check its mode with sandbox_execute: ls -l. It may need chmod.",
    errors.WorkspaceFullError: "Delete with sandbox_execute what is no longer needed; du shows "
    "what is large.",
    errors.TextNotFoundError: "Nothing was changed. Read the file with sandbox_read_file, and copy "
    "old exactly from it, with its whitespace and without line numbers.",
    errors.TextNotUniqueError: "Nothing was changed. Include surrounding lines in old and new, or "
    "set replace_all to change all of them.",
    errors.FileTooLargeError: "Process it in chunks with sandbox_execute instead.",
    errors.RequestTooLargeError: "Write it with several calls of sandbox_write_file, with append "
    "from the second call on.",
    errors.TooManyCommandsError: "Wait until some of its commands have ended, or end them.",
    errors.ProcessNotFoundError: "Copy the request_id exactly. A command of an earlier sandbox "
    "ended together with that sandbox.",
    errors.ProcessLostError: _LOOK,
    errors.AnswerLostError: _LOOK,
    errors.CommandNotStartedError: "It did not run. End processes that are no longer needed, then "
    "call it again.",
    errors.SandboxUnavailableError: "The sandbox does not answer just now.",
}


def error_text(error: errors.SandboxError) -> str:
    """Return what a model reads in place of an answer."""
    parts = [f"Error ({error.code}): {error.message}"]
    if isinstance(error, errors.SandboxReplacedError):
        parts.append(_after_replacement(error))
    elif isinstance(error, errors.SandboxGoneError | errors.LeaseNotFoundError):
        parts.append("Call it again: a sandbox is made where there is none.")
    elif type(error) in _NEXT:
        parts.append(_NEXT[type(error)].format(seconds=error.retry_after_seconds or 0))
    if isinstance(error, errors.UnavailableError | errors.CreationLostError):
        parts.append(_when_unavailable(error))
    elif isinstance(error, _HOPELESS):
        parts.append(_NOT_YOURS)
    elif isinstance(error, errors.InvalidRequestError) and error.message.startswith(_SETTINGS_OWN):
        parts.append(f"The backend's sandbox_max_output_bytes is over that. {_NOT_YOURS}")
    return " ".join(parts)


_HOPELESS: Final = (
    errors.UnauthenticatedError,
    errors.ForbiddenError,
    errors.UnknownVerbError,
    errors.ConfigurationError,
    errors.InternalError,
)


def _after_replacement(error: errors.SandboxReplacedError) -> str:
    steps = []
    if error.workspace_is_new:
        steps.append("Write the files that you need again before you go on.")
    elif error.may_have_run:
        steps.append(_LOOK)
    steps.append("Processes that you had started are gone, too.")
    return " ".join(steps)


def _when_unavailable(error: errors.SandboxError) -> str:
    if error.may_have_run:
        return _LOOK
    seconds = error.retry_after_seconds or 1
    done = "Nothing was done. " if error.may_have_run is False else ""
    return f"{done}Call it again in {seconds} s; after three failures tell the user and stop."
