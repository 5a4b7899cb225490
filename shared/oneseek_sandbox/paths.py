"""Paths in a sandbox, as text. Pure; the worker checks again where symlinks can be seen."""

from __future__ import annotations

import base64
import binascii
import posixpath
from typing import Final

from oneseek_sandbox.errors import IsADirectoryInWorkspaceError, PathOutsideWorkspaceError

__all__ = ["BASE64_PREFIX", "in_sandbox", "of_file"]

BASE64_PREFIX: Final = "base64:"
"""Begins a path that is not UTF-8; such paths come from `ls` and may be given back as they are."""


def in_sandbox(path: str, workspace: str, *, anywhere: bool) -> str:
    """Return `path` normalised, when it is absolute and lies in the workspace as it is written.

    A slash at its end stays, since it says that a directory is meant.

    Args:
        anywhere: It may lie anywhere in the sandbox, as PROVISIONER_FILE_SCOPE says.

    Raises:
        PathOutsideWorkspaceError: It is relative, has `..` or NUL, or lies elsewhere.
    """
    normal = _normal(path, workspace)
    inside = normal == workspace or normal.startswith(workspace + "/")
    if not inside and not anywhere:
        raise PathOutsideWorkspaceError(
            f"Path {path!r} is outside {workspace}; only paths in it can be used."
        )
    if path.startswith(BASE64_PREFIX):
        return path
    return normal + "/" if _names_directory(path) and normal not in (workspace, "/") else normal


def _normal(path: str, workspace: str) -> str:
    text = _decoded(path)
    if "\0" in text:
        raise PathOutsideWorkspaceError(f"Path {path!r} contains a NUL character.")
    if not text.startswith("/"):
        raise PathOutsideWorkspaceError(
            f"Path {path!r} is not absolute; write {posixpath.join(workspace, text)!r}."
        )
    if ".." in text.split("/"):
        raise PathOutsideWorkspaceError(f"Path {path!r} contains '..'; write the path without it.")
    return posixpath.normpath("/" + text.lstrip("/"))


def of_file(path: str, workspace: str, *, anywhere: bool) -> str:
    """Return `path` as `in_sandbox` does, when it can be one of a file.

    Raises:
        IsADirectoryInWorkspaceError: It ends with a slash.
        PathOutsideWorkspaceError: As of `in_sandbox`.
    """
    normal = in_sandbox(path, workspace, anywhere=anywhere)
    if _names_directory(path):
        raise IsADirectoryInWorkspaceError(
            f"{path} ends with '/', so it names a directory; give the path of a file."
        )
    return normal


def _names_directory(path: str) -> bool:
    return _decoded(path).endswith(("/", "/."))


def _decoded(path: str) -> str:
    if not path.startswith(BASE64_PREFIX):
        return path
    try:
        raw = base64.b64decode(path.removeprefix(BASE64_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        raise PathOutsideWorkspaceError(
            f"Path {path!r} begins with '{BASE64_PREFIX}' but is not base64 of an absolute path."
        ) from None
    return raw.decode("utf-8", "surrogateescape")
