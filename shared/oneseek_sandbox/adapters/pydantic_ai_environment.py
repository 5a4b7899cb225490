"""The sandbox behind a workspace of Pydantic AI: acquired once, or attached to."""

from __future__ import annotations

import asyncio
import base64
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

from pydantic_ai.workspaces import WorkspaceRef, WorkspaceUnavailableError

from oneseek_sandbox import errors
from oneseek_sandbox.client.thread import GONE
from oneseek_sandbox.paths import BASE64_PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Unpack

    from oneseek_sandbox.client.fields import ExecuteOptions
    from oneseek_sandbox.client.sandboxes import Sandboxes
    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["PROVIDER", "Environment", "workspace_errors"]

PROVIDER: Final = "oneseek"


@contextmanager
def workspace_errors() -> Iterator[None]:
    """Raise what Pydantic AI knows by its class; what may pass by itself stays a `SandboxError`."""
    try:
        yield
    except GONE as error:
        raise WorkspaceUnavailableError(error.message) from error
    except errors.InvalidRequestError as error:
        raise ValueError(error.message) from error


class Environment:
    """One sandbox, named by its `sandbox_id` from its first operation on.

    The arguments are those of `OneSeekWorkspaceBackend`. Everything here happens in the loop of
    `sandboxes`.
    """

    def __init__(
        self,
        sandboxes: Sandboxes,
        *,
        ref: WorkspaceRef | None,
        thread_id: str | None,
        scope: str | None,
        idle_timeout_seconds: int | None,
    ) -> None:
        if ref is not None and ref.provider != PROVIDER:
            raise ValueError(f"A ref of {ref.provider!r} names no sandbox of {PROVIDER!r}")
        if ref is not None and (thread_id is not None or scope is not None):
            raise ValueError("Name the sandbox by ref, or by thread_id and scope, not by both")
        self.ref = ref
        self._sandboxes = sandboxes
        self._thread_id = thread_id or f"pydantic-ai-{uuid.uuid4().hex}"
        self._scope = scope
        self._idle_timeout_seconds = idle_timeout_seconds
        self._acquiring: asyncio.Task[str] | None = None
        self._working_dir: str | None = None

    async def working_dir(self) -> str:
        """Return the workspace's path, without links."""
        sandbox_id = await self._sandbox_id()
        if self._working_dir is None:
            ended = await self._sandboxes.execute("pwd -P", sandbox_id=sandbox_id)
            if ended.exit_code != 0 or not ended.stdout.startswith("/"):
                raise errors.SandboxUnavailableError("The sandbox does not tell its workspace.")
            self._working_dir = ended.stdout.removesuffix("\n")
        return self._working_dir

    async def execute(
        self, command: str | Sequence[str], **options: Unpack[ExecuteOptions]
    ) -> ExecuteAnswer:
        """Run a command to its end."""
        sandbox_id = await self._sandbox_id()
        return await self._sandboxes.execute(command, sandbox_id=sandbox_id, **options)

    async def download(self, path: str) -> bytes:
        """Return a file's content."""
        sandbox_id = await self._sandbox_id()
        async with self._sandboxes.download(_spelled(path), sandbox_id=sandbox_id) as file:
            return b"".join([chunk async for chunk in file.chunks])

    async def upload(self, path: str, content: bytes) -> None:
        """Write a file."""
        sandbox_id = await self._sandbox_id()
        await self._sandboxes.upload(_spelled(path), content, sandbox_id=sandbox_id)

    async def _sandbox_id(self) -> str:
        """Return the sandbox's id; the first who asks for it has it acquired.

        All who ask meanwhile wait for the same acquire. Who is cancelled leaves it going on, so that
        the ref of a sandbox that was made is never missing.
        """
        if self.ref is not None:
            return self.ref.id
        if self._acquiring is None:
            self._acquiring = asyncio.create_task(self._acquire())
            self._acquiring.add_done_callback(_looked_at)
        return await asyncio.shield(self._acquiring)

    async def _acquire(self) -> str:
        try:
            acquired = await self._sandboxes.acquire(
                self._thread_id,
                scope=self._scope,
                idle_timeout_seconds=self._idle_timeout_seconds,
            )
        finally:
            self._acquiring = None
        self.ref = WorkspaceRef(provider=PROVIDER, id=acquired.sandbox_id)
        return acquired.sandbox_id


def _looked_at(task: asyncio.Task[str]) -> None:
    """Take an error that nobody is left to take, which asyncio would complain of."""
    if not task.cancelled():
        task.exception()


def _spelled(path: str) -> str:
    """Write a path as the verbs do; Python has surrogates for bytes that are not UTF-8."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return BASE64_PREFIX + base64.b64encode(path.encode("utf-8", "surrogateescape")).decode()
    return path
