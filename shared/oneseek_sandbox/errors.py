"""Every error a caller can meet, in one tree.

Each class has a stable `code`, an HTTP `status` and says whether the same call may succeed when
tried again (`retryable`). The message tells what happened, to what, and what to do next: an agent
reads it. `docs/errors.md` has a paragraph per code; a test holds it complete.

    SandboxError
    ├── RequestError
    │   ├── InvalidRequestError · UnauthenticatedError · ForbiddenError · UnknownVerbError
    │   └── MethodNotAllowedError · UnsupportedMediaTypeError · RequestTooLargeError
    ├── LeaseError
    │   ├── LeaseNotFoundError · CapacityError · CreationLostError
    │   └── SandboxGoneError
    │       └── SandboxReleasedError · SandboxExpiredError · SandboxLostError
    ├── WorkspaceError
    │   ├── PathOutsideWorkspaceError · WorkspaceFileNotFoundError · WorkspaceFileExistsError
    │   ├── IsADirectoryInWorkspaceError · NotADirectoryInWorkspaceError · NotARegularFileError
    │   ├── WorkspacePermissionError · WorkspaceFullError · NotTextError
    │   └── ContentChangedError · TextNotFoundError · TextNotUniqueError · FileTooLargeError
    ├── CommandError
    │   ├── RequestIdConflictError · AnswerEvictedError · RequestIdsExhaustedError
    │   └── CommandNotFoundError · TooManyCommandsError · CommandNotStartedError
    ├── UnavailableError
    │   ├── StoreUnavailableError · RuntimeUnavailableError · SandboxUnavailableError
    │   └── SandboxStartError · ShuttingDownError
    ├── ConfigurationError
    └── InternalError
"""

from __future__ import annotations

from typing import ClassVar, Final

__all__ = [
    "AnswerEvictedError",
    "CapacityError",
    "CommandError",
    "CommandNotFoundError",
    "CommandNotStartedError",
    "ConfigurationError",
    "ContentChangedError",
    "CreationLostError",
    "FileTooLargeError",
    "ForbiddenError",
    "InternalError",
    "InvalidRequestError",
    "IsADirectoryInWorkspaceError",
    "LeaseError",
    "LeaseNotFoundError",
    "MethodNotAllowedError",
    "NotADirectoryInWorkspaceError",
    "NotARegularFileError",
    "NotTextError",
    "PathOutsideWorkspaceError",
    "RequestError",
    "RequestIdConflictError",
    "RequestIdsExhaustedError",
    "RequestTooLargeError",
    "RuntimeUnavailableError",
    "SandboxError",
    "SandboxExpiredError",
    "SandboxGoneError",
    "SandboxLostError",
    "SandboxReleasedError",
    "SandboxStartError",
    "SandboxUnavailableError",
    "ShuttingDownError",
    "StoreUnavailableError",
    "TextNotFoundError",
    "TextNotUniqueError",
    "TooManyCommandsError",
    "UnauthenticatedError",
    "UnavailableError",
    "UnknownVerbError",
    "UnsupportedMediaTypeError",
    "WorkspaceError",
    "WorkspaceFileExistsError",
    "WorkspaceFileNotFoundError",
    "WorkspaceFullError",
    "WorkspacePermissionError",
    "error_for_code",
]


class SandboxError(Exception):
    """Base of everything this package raises on purpose.

    Args:
        message: What happened, to what, and what to do next.
        retry_after_seconds: When the same call is worth another try; sent as `Retry-After`.
        may_have_run: Whether a command of this call may have started before it failed.
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


class RequestError(SandboxError):
    """Raised when the request itself is wrong; nothing was changed."""

    code = "request_error"
    status = 400


class InvalidRequestError(RequestError):
    """Raised when a field, a header or the body is not acceptable."""

    code = "invalid_request"


class UnauthenticatedError(RequestError):
    """Raised when the Bearer key is missing or wrong."""

    code = "unauthenticated"
    status = 401


class ForbiddenError(RequestError):
    """Raised when the key is right but does not reach this scope or verb."""

    code = "forbidden"
    status = 403


class UnknownVerbError(RequestError):
    """Raised when the path names no verb."""

    code = "unknown_verb"
    status = 404


class MethodNotAllowedError(RequestError):
    """Raised when the path exists but not for this HTTP method."""

    code = "method_not_allowed"
    status = 405


class RequestTooLargeError(RequestError):
    """Raised when the body is longer than this verb accepts."""

    code = "request_too_large"
    status = 413


class UnsupportedMediaTypeError(RequestError):
    """Raised when the body's content type is not one this verb reads."""

    code = "unsupported_media_type"
    status = 415


class LeaseError(SandboxError):
    """Raised when there is no lease to work under."""

    code = "lease_error"
    status = 409


class LeaseNotFoundError(LeaseError):
    """Raised when the thread has no live sandbox, or the `sandbox_id` is not known."""

    code = "lease_not_found"
    status = 404


class SandboxGoneError(LeaseError):
    """Raised when a `sandbox_id` is no longer the current one of its thread."""

    code = "sandbox_gone"
    status = 410


class SandboxReleasedError(SandboxGoneError):
    """Raised when the sandbox was released."""

    code = "sandbox_released"


class SandboxExpiredError(SandboxGoneError):
    """Raised when the sandbox was idle for longer than its idle timeout, or reached its maximum lifetime."""

    code = "sandbox_expired"


class SandboxLostError(SandboxGoneError):
    """Raised when the sandbox ended on its own, or came back with another memory than before."""

    code = "sandbox_lost"


class CapacityError(LeaseError):
    """Raised when no further sandbox may be made now."""

    code = "capacity"
    status = 429
    retryable = True
    default_retry_after_seconds = 10


class CreationLostError(LeaseError):
    """Raised when a creation was taken over, or the thread released, while it was under way."""

    code = "creation_lost"
    status = 409
    retryable = True
    default_retry_after_seconds = 1


class WorkspaceError(SandboxError):
    """Raised when a file operation cannot be done; the file is as it was."""

    code = "workspace_error"
    status = 409


class PathOutsideWorkspaceError(WorkspaceError):
    """Raised when a path is not absolute, has `..`, or leads out of the workspace by a symlink."""

    code = "path_outside_workspace"
    status = 400


class WorkspaceFileNotFoundError(WorkspaceError):
    """Raised when there is no such file or directory."""

    code = "file_not_found"
    status = 404


class WorkspaceFileExistsError(WorkspaceError):
    """Raised when `create_only` was asked for and the file is there."""

    code = "file_exists"


class IsADirectoryInWorkspaceError(WorkspaceError):
    """Raised when a file was expected and a directory found."""

    code = "is_a_directory"


class NotADirectoryInWorkspaceError(WorkspaceError):
    """Raised when a directory was expected and something else found."""

    code = "not_a_directory"


class NotARegularFileError(WorkspaceError):
    """Raised for FIFOs, sockets and devices: reading one could block for ever."""

    code = "not_a_regular_file"


class WorkspacePermissionError(WorkspaceError):
    """Raised when the file's mode forbids it."""

    code = "permission_denied"
    status = 403


class WorkspaceFullError(WorkspaceError):
    """Raised when the disk, or the sandbox's share of it, is full."""

    code = "disk_full"


class NotTextError(WorkspaceError):
    """Raised when text was asked of a file that is not UTF-8."""

    code = "not_text"


class ContentChangedError(WorkspaceError):
    """Raised when `if_sha256` does not match what is in the file."""

    code = "content_changed"


class TextNotFoundError(WorkspaceError):
    """Raised when `old` does not occur in the file."""

    code = "text_not_found"


class TextNotUniqueError(WorkspaceError):
    """Raised when `old` occurs more than once and `replace_all` is not set."""

    code = "text_not_unique"


class FileTooLargeError(WorkspaceError):
    """Raised when a file is larger than this operation handles."""

    code = "file_too_large"
    status = 413


class CommandError(SandboxError):
    """Raised when a command cannot be run or found; a command that fails is an answer instead."""

    code = "command_error"
    status = 409


class RequestIdConflictError(CommandError):
    """Raised when a `request_id` comes again with another request."""

    code = "request_id_conflict"


class AnswerEvictedError(CommandError):
    """Raised when the answer to a repeated `request_id` is no longer kept; it is not run again."""

    code = "answer_evicted"


class RequestIdsExhaustedError(CommandError):
    """Raised when a sandbox has seen as many `request_id`s as it can remember."""

    code = "request_ids_exhausted"


class CommandNotFoundError(CommandError):
    """Raised when a cancel names a `request_id` that this sandbox never saw."""

    code = "command_not_found"
    status = 404


class TooManyCommandsError(CommandError):
    """Raised when a sandbox already runs as many commands at once as it may."""

    code = "too_many_commands"
    status = 429
    retryable = True
    default_retry_after_seconds = 1


class CommandNotStartedError(CommandError):
    """Raised when the sandbox had no process or memory left to start the command; it did not run."""

    code = "command_not_started"
    status = 503
    retryable = True
    default_retry_after_seconds = 1


class UnavailableError(SandboxError):
    """Raised when something this service stands on does not answer just now."""

    code = "unavailable"
    status = 503
    retryable = True
    default_retry_after_seconds = 2


class StoreUnavailableError(UnavailableError):
    """Raised when Redis does not answer; nothing was handed out."""

    code = "store_unavailable"


class RuntimeUnavailableError(UnavailableError):
    """Raised when what makes sandboxes does not answer."""

    code = "runtime_unavailable"


class SandboxUnavailableError(UnavailableError):
    """Raised when a sandbox does not answer; it is looked at by the next acquire."""

    code = "sandbox_unavailable"


class SandboxStartError(UnavailableError):
    """Raised when a new sandbox could not be started; nothing is left behind."""

    code = "sandbox_start_failed"


class ShuttingDownError(UnavailableError):
    """Raised when this server is stopping and takes no new work."""

    code = "shutting_down"


class ConfigurationError(SandboxError):
    """Raised at start when the settings or this machine do not allow safe work."""

    code = "configuration"


class InternalError(SandboxError):
    """Raised for a fault of our own; the log has the details under the trace id."""

    code = "internal"


def _leaves(base: type[SandboxError]) -> list[type[SandboxError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _leaves(child))]


_BY_CODE: Final = {error.code: error for error in _leaves(SandboxError)}


def error_for_code(code: str) -> type[SandboxError] | None:
    """Return the class that carries `code`, or None when no class does."""
    return _BY_CODE.get(code)
