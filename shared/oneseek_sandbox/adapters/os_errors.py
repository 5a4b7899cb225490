"""Errors of a sandbox's files as the `OSError`s that Python code expects of files."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from oneseek_sandbox import errors

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["file_errors"]

_NUMBERS: Final[dict[type[errors.SandboxError], int]] = {
    errors.WorkspaceFileNotFoundError: errno.ENOENT,
    errors.WorkspaceFileExistsError: errno.EEXIST,
    errors.WorkspacePermissionError: errno.EACCES,
    errors.PathOutsideWorkspaceError: errno.EACCES,
    errors.IsADirectoryInWorkspaceError: errno.EISDIR,
    errors.NotADirectoryInWorkspaceError: errno.ENOTDIR,
    errors.NotARegularFileError: errno.EINVAL,
    errors.WorkspaceFullError: errno.ENOSPC,
    errors.FileTooLargeError: errno.EFBIG,
}


@contextmanager
def file_errors(path: str) -> Iterator[None]:
    """Raise what is wrong with a file as the `OSError` of its class, about `path`; all else as it is."""
    try:
        yield
    except errors.SandboxError as error:
        number = _NUMBERS.get(type(error))
        if number is None:
            raise
        # OSError makes an object of the class that belongs to the number.
        raise OSError(number, error.message, path) from error
