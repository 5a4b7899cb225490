"""Every error a caller can meet, in one tree.

Each class has a stable `code`, an HTTP `status` and says whether the same call may succeed when
tried again (`retryable`). The message tells what happened, to what, and what to do next: an agent
reads it. `docs/errors.md` has a paragraph per code; a test holds it complete.

    SandboxError
    ├── RequestError
    │   ├── InvalidRequestError · UnauthenticatedError · ForbiddenError · UnknownVerbError
    │   └── MethodNotAllowedError · UnsupportedMediaTypeError · RequestTooLargeError
    ├── LeaseError
    │   ├── LeaseNotFoundError · CapacityError · CreationLostError · SandboxTooOldError
    │   └── SandboxGoneError
    │       ├── SandboxReleasedError · SandboxExpiredError · SandboxLostError
    │       └── SandboxReplacedError (the client's)
    ├── WorkspaceError
    │   ├── PathChangedError · PathOutsideWorkspaceError
    │   ├── WorkspaceFileNotFoundError · WorkspaceFileExistsError
    │   ├── IsADirectoryInWorkspaceError · NotADirectoryInWorkspaceError · NotARegularFileError
    │   ├── WorkspacePermissionError · WorkspaceFullError · NotTextError
    │   └── ContentChangedError · TextNotFoundError · TextNotUniqueError · FileTooLargeError
    ├── CommandError
    │   ├── RequestIdConflictError · AnswerEvictedError · AnswerLostError
    │   ├── RequestIdsExhaustedError · CommandNotFoundError
    │   ├── TooManyCommandsError · CommandNotStartedError · OutputNotTakenError · OutputTooLargeError
    │   ├── CannotExecuteError · ProcessNotFoundError · ProcessLostError · ProcessEndedError
    │   ├── StdinClosedError · InputGapError · InputFullError
    │   └── OffsetAheadError · TooManyStreamsError
    ├── UnavailableError
    │   ├── StoreUnavailableError · RuntimeUnavailableError · SandboxUnavailableError
    │   ├── SandboxStartError · ShuttingDownError · ServerBusyError
    │   └── ServerUnreachableError (the client's)
    ├── ConfigurationError
    └── InternalError
"""

from __future__ import annotations

from typing import Final

from oneseek_sandbox.errors.base import SandboxError
from oneseek_sandbox.errors.client import SandboxReplacedError, ServerUnreachableError
from oneseek_sandbox.errors.commands import (
    AnswerEvictedError,
    AnswerLostError,
    CannotExecuteError,
    CommandError,
    CommandNotFoundError,
    CommandNotStartedError,
    InputFullError,
    InputGapError,
    OffsetAheadError,
    OutputNotTakenError,
    OutputTooLargeError,
    ProcessEndedError,
    ProcessLostError,
    ProcessNotFoundError,
    RequestIdConflictError,
    RequestIdsExhaustedError,
    StdinClosedError,
    TooManyCommandsError,
    TooManyStreamsError,
)
from oneseek_sandbox.errors.leases import (
    CapacityError,
    CreationLostError,
    LeaseError,
    LeaseNotFoundError,
    SandboxExpiredError,
    SandboxGoneError,
    SandboxLostError,
    SandboxReleasedError,
    SandboxTooOldError,
)
from oneseek_sandbox.errors.requests import (
    ForbiddenError,
    InvalidRequestError,
    MethodNotAllowedError,
    RequestError,
    RequestTooLargeError,
    UnauthenticatedError,
    UnknownVerbError,
    UnsupportedMediaTypeError,
)
from oneseek_sandbox.errors.service import (
    ConfigurationError,
    InternalError,
    RuntimeUnavailableError,
    SandboxStartError,
    SandboxUnavailableError,
    ServerBusyError,
    ShuttingDownError,
    StoreUnavailableError,
    UnavailableError,
)
from oneseek_sandbox.errors.workspace import (
    ContentChangedError,
    FileTooLargeError,
    IsADirectoryInWorkspaceError,
    NotADirectoryInWorkspaceError,
    NotARegularFileError,
    NotTextError,
    PathChangedError,
    PathOutsideWorkspaceError,
    TextNotFoundError,
    TextNotUniqueError,
    WorkspaceError,
    WorkspaceFileExistsError,
    WorkspaceFileNotFoundError,
    WorkspaceFullError,
    WorkspacePermissionError,
)

__all__ = [
    "AnswerEvictedError",
    "AnswerLostError",
    "CannotExecuteError",
    "CapacityError",
    "CommandError",
    "CommandNotFoundError",
    "CommandNotStartedError",
    "ConfigurationError",
    "ContentChangedError",
    "CreationLostError",
    "FileTooLargeError",
    "ForbiddenError",
    "InputFullError",
    "InputGapError",
    "InternalError",
    "InvalidRequestError",
    "IsADirectoryInWorkspaceError",
    "LeaseError",
    "LeaseNotFoundError",
    "MethodNotAllowedError",
    "NotADirectoryInWorkspaceError",
    "NotARegularFileError",
    "NotTextError",
    "OffsetAheadError",
    "OutputNotTakenError",
    "OutputTooLargeError",
    "PathChangedError",
    "PathOutsideWorkspaceError",
    "ProcessEndedError",
    "ProcessLostError",
    "ProcessNotFoundError",
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
    "SandboxReplacedError",
    "SandboxStartError",
    "SandboxTooOldError",
    "SandboxUnavailableError",
    "ServerBusyError",
    "ServerUnreachableError",
    "ShuttingDownError",
    "StdinClosedError",
    "StoreUnavailableError",
    "TextNotFoundError",
    "TextNotUniqueError",
    "TooManyCommandsError",
    "TooManyStreamsError",
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


def _leaves(base: type[SandboxError]) -> list[type[SandboxError]]:
    return [base, *(leaf for child in base.__subclasses__() for leaf in _leaves(child))]


_BY_CODE: Final = {error.code: error for error in _leaves(SandboxError)}


def error_for_code(code: str) -> type[SandboxError] | None:
    """Return the class that carries `code`, or None when no class does."""
    return _BY_CODE.get(code)
