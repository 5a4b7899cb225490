"""A command, or a path, on its way to a worker. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from oneseek_sandbox import paths
from oneseek_sandbox.control.translation import stdin_fields
from oneseek_sandbox.errors import InvalidRequestError

if TYPE_CHECKING:
    from oneseek_sandbox.models import ExecuteRequest
    from oneseek_sandbox.settings import Settings

__all__ = ["background_command", "directory_path", "file_path", "worker_command"]

_KILL_GRACE_MS: Final = 2000
"""Between TERM and KILL at a command's limit."""


def worker_command(request: ExecuteRequest, settings: Settings, *, stream: bool) -> dict[str, Any]:
    """Check a command against this server's limits and write it in the worker's words.

    Raises:
        InvalidRequestError: It is over a limit.
        PathOutsideWorkspaceError: `cwd` is not where this server lets commands start.
    """
    cwd, stdin_path = request.cwd, request.stdin_path
    most_seconds = settings.max_timeout_seconds
    if request.background:
        most_seconds = settings.max_background_seconds
    seconds = request.limit_seconds
    if seconds is not None and seconds > most_seconds:
        raise InvalidRequestError(
            f"timeout_seconds: {seconds:g} is over this server's limit of {most_seconds}; give "
            f"less, or {'none' if request.background else 'run it in the background'}."
        )
    output = request.max_output_bytes or settings.max_output_bytes
    most = max(settings.max_output_bytes, settings.output_limit_bytes)
    if output > most:
        raise InvalidRequestError(
            f"max_output_bytes: {output} is over this server's limit of {most}; stream it with "
            "stream_all, or write the output to a file and read that."
        )
    if request.overflow == "error" and request.stream_all:
        raise InvalidRequestError("overflow: a stream of all output cannot be too large.")
    return {
        "command": request.command,
        "cwd": None if cwd is None else directory_path(cwd, settings),
        "env": request.env,
        **stdin_fields(request),
        "stdin_path": None if stdin_path is None else file_path(stdin_path, settings),
        "timeout_ms": None if seconds is None else round(1000 * seconds),
        "grace_ms": _KILL_GRACE_MS,
        "max_output_bytes": output,
        "request_id": request.request_id,
        "stream": stream,
        # Workers of before refuse fields that they do not know.
        "stdin_open": request.stdin_open or None,
        "terminal": None if request.terminal is None else request.terminal.model_dump(),
    }


def background_command(request: ExecuteRequest, settings: Settings) -> dict[str, Any]:
    """Write a command that is not waited for in the worker's words; a limit of it may be None.

    Raises:
        InvalidRequestError: As of `worker_command`.
        PathOutsideWorkspaceError: As of `worker_command`.
    """
    command = worker_command(request, settings, stream=False)
    return command | {"background": True, "log_bytes": settings.process_log_bytes}


def directory_path(path: str, settings: Settings) -> str:
    """Return the path of a directory as the worker takes it.

    Raises:
        PathOutsideWorkspaceError: It is not where this server's files are.
    """
    return paths.in_sandbox(path, settings.workspace_dir, anywhere=_anywhere(settings))


def file_path(path: str, settings: Settings) -> str:
    """Return the path of a file as the worker takes it.

    Raises:
        IsADirectoryInWorkspaceError: It ends with a slash.
        PathOutsideWorkspaceError: As of `directory_path`.
    """
    return paths.of_file(path, settings.workspace_dir, anywhere=_anywhere(settings))


def _anywhere(settings: Settings) -> bool:
    return settings.file_scope == "sandbox"
