"""Commands of Inspect: what they read, and what came of them."""

from __future__ import annotations

import base64
import functools
import posixpath
import uuid
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Final, TypedDict

from inspect_ai.util import ExecResult, OutputLimitExceededError, SandboxEnvironmentLimits

from oneseek_sandbox.adapters.tree import Tree
from oneseek_sandbox.errors import SandboxError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.models import ExecuteAnswer
    from oneseek_sandbox.models.fields import Encoding

__all__ = ["Stdin", "result_of", "stdin_of"]

_LARGEST_IN_REQUEST: Final = 4 * 1024 * 1024  # bytes; a request takes 16 MiB, as base64
_CANNOT_EXECUTE: Final = 126


class Stdin(TypedDict, total=False):
    """Of an execute."""

    stdin: str
    stdin_encoding: Encoding
    stdin_path: str


@asynccontextmanager
async def stdin_of(
    given: str | bytes | None, sandboxes: Sandboxes, sandbox_id: str, workspace: str
) -> AsyncIterator[Stdin]:
    """Give the fields of an execute that name its input; a large one lies in a file meanwhile."""
    content = given.encode() if isinstance(given, str) else given
    if content is None:
        yield {}
        return
    if len(content) <= _LARGEST_IN_REQUEST:
        yield {"stdin": base64.b64encode(content).decode(), "stdin_encoding": "base64"}
        return
    path = posixpath.join(workspace, f".inspect-input-{uuid.uuid4().hex}")
    await sandboxes.upload(path, content, sandbox_id=sandbox_id)
    try:
        yield {"stdin_path": path}
    finally:
        tree = Tree(functools.partial(sandboxes.execute, sandbox_id=sandbox_id))
        with suppress(SandboxError, OSError):
            await tree.remove(path, keep=workspace)


def result_of(ended: ExecuteAnswer, cmd: list[str], seconds: float) -> ExecResult[str]:
    """Return the result of a command that was run with `encoding="base64"`.

    Raises:
        TimeoutError: It was ended at its limit of `seconds`.
        PermissionError: It may not be executed.
        OutputLimitExceededError: Its output is not complete, or larger than Inspect's limit.
    """
    if ended.timed_out:
        raise TimeoutError(f"The command was ended after its limit of {seconds:g} seconds")
    stdout, stderr = _text(ended.stdout), _text(ended.stderr)
    if ended.exit_code == _CANNOT_EXECUTE and "permission denied" in stderr.lower():
        raise PermissionError(f"{cmd[0]!r} cannot be executed: {stderr.strip()}")
    limit = SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE
    for is_cut, printed in (
        (ended.stdout_truncated, ended.stdout_bytes),
        (ended.stderr_truncated, ended.stderr_bytes),
    ):
        if printed > limit:
            raise OutputLimitExceededError(
                SandboxEnvironmentLimits.MAX_EXEC_OUTPUT_SIZE_STR, stdout
            )
        if is_cut:
            raise OutputLimitExceededError("the server (PROVISIONER_MAX_OUTPUT_BYTES)", stdout)
    return ExecResult(ended.exit_code == 0, ended.exit_code, stdout, stderr)


def _text(output: str) -> str:
    return base64.b64decode(output).decode("utf-8", "replace")
