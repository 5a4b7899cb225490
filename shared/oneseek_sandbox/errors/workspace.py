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
    """Raised when a file operation fails; the file is unchanged."""

    code = "workspace_error"
    status = 409


class PathOutsideWorkspaceError(WorkspaceError):
    """Raised when a path is not absolute, contains `..`, or leads out of the workspace through a symlink."""

    code = "path_outside_workspace"
    status = 400


class PathChangedError(WorkspaceError):
    """Raised when a symlink or directory was replaced while a path was resolved; try again."""

    code = "path_changed"
    retryable = True
    default_retry_after_seconds = 1


class WorkspaceFileNotFoundError(WorkspaceError):
    """Raised when there is no such file or directory."""

    code = "file_not_found"
    status = 404


class WorkspaceFileExistsError(WorkspaceError):
    """Raised when `create_only` is set and the file exists."""

    code = "file_exists"


class IsADirectoryInWorkspaceError(WorkspaceError):
    """Raised when the path is a directory, but a file was expected."""

    code = "is_a_directory"


class NotADirectoryInWorkspaceError(WorkspaceError):
    """Raised when the path, or a component of it, is not a directory."""

    code = "not_a_directory"


class NotARegularFileError(WorkspaceError):
    """Raised for FIFOs, sockets and devices: reading one could block forever."""

    code = "not_a_regular_file"


class WorkspacePermissionError(WorkspaceError):
    """Raised when the file's mode does not allow it."""

    code = "permission_denied"
    status = 403


class WorkspaceFullError(WorkspaceError):
    """Raised when the disk, or the sandbox's share of it, is full."""

    code = "disk_full"


class NotTextError(WorkspaceError):
    """Raised when a call asks for text, but the file is not valid UTF-8."""

    code = "not_text"


class ContentChangedError(WorkspaceError):
    """Raised when `if_sha256` does not match the file's content."""

    code = "content_changed"


class TextNotFoundError(WorkspaceError):
    """Raised when `old` does not occur in the file."""

    code = "text_not_found"


class TextNotUniqueError(WorkspaceError):
    """Raised when `old` occurs more than once and `replace_all` is not set."""

    code = "text_not_unique"


class FileTooLargeError(WorkspaceError):
    """Raised when a file is too large for this operation."""

    code = "file_too_large"
    status = 413
