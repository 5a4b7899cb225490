"""Why a file operation was not done."""

from __future__ import annotations

from oneseek_sandbox.errors.base import SandboxError

__all__ = [
    "ContentChangedError",
    "FileTooLargeError",
    "IsADirectoryInWorkspaceError",
    "NotADirectoryInWorkspaceError",
    "NotARegularFileError",
    "NotTextError",
    "PathChangedError",
    "PathOutsideWorkspaceError",
    "TextNotFoundError",
    "TextNotUniqueError",
    "WorkspaceError",
    "WorkspaceFileExistsError",
    "WorkspaceFileNotFoundError",
    "WorkspaceFullError",
    "WorkspacePermissionError",
]


class WorkspaceError(SandboxError):
    """Raised when a file operation cannot be done; the file is as it was."""

    code = "workspace_error"
    status = 409


class PathOutsideWorkspaceError(WorkspaceError):
    """Raised when a path is not absolute, has `..`, or leads out of the workspace by a symlink."""

    code = "path_outside_workspace"
    status = 400


class PathChangedError(WorkspaceError):
    """Raised when links or directories on a path were replaced while it was walked; try again."""

    code = "path_changed"
    retryable = True
    default_retry_after_seconds = 1


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
