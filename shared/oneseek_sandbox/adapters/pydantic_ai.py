"""Sandboxes as workspaces of Pydantic AI. Needs the extra `pydantic-ai`.

async with connect(settings) as sandboxes:
    agent = Agent(model, capabilities=[OneSeekWorkspace(sandboxes), ...])
"""

from __future__ import annotations

import posixpath
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING

from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.tools import AgentDepsT
from pydantic_ai.workspaces import (
    CommandResult,
    FileEntry,
    SupportsCommands,
    SupportsFilesystem,
    SupportsRealpath,
    WorkspaceBackend,
    WorkspaceRef,
)

from oneseek_sandbox.adapters.home import Home
from oneseek_sandbox.adapters.limits import LONGEST_COMMAND_SECONDS
from oneseek_sandbox.adapters.os_errors import file_errors
from oneseek_sandbox.adapters.pydantic_ai_environment import PROVIDER, Environment, workspace_errors
from oneseek_sandbox.adapters.pydantic_ai_running import result_of, seconds_of
from oneseek_sandbox.adapters.tree import Tree
from oneseek_sandbox.client.blocking import BlockingSandboxes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pydantic_ai.tools import RunContext
    from pydantic_ai.workspaces import WorkspaceCommand

    from oneseek_sandbox.adapters.tree import Entry
    from oneseek_sandbox.client.sandboxes import Sandboxes

__all__ = ["OneSeekWorkspace", "OneSeekWorkspaceBackend"]


class OneSeekWorkspaceBackend(
    WorkspaceBackend, SupportsCommands, SupportsFilesystem, SupportsRealpath
):
    """One sandbox as Pydantic AI uses it: acquired when it is first used, or attached to.

    Nothing is asked of the service before the first operation. Attaching never creates: when the
    sandbox was released or has expired, every operation raises `WorkspaceUnavailableError`. The end
    of a run ends no sandbox; it ends when it is idle, or by `Sandboxes.release`.

    Args:
        sandboxes: Open ones. `BlockingSandboxes` serve every event loop, as of `run_sync`; others
            the loop that is running when this is made, or first used.
        ref: Attach to this sandbox, which `ref` of another backend has told.
        thread_id: Of the sandbox that is acquired without a ref. Default: a new one.
        scope: Tenant or user of that sandbox.
        idle_timeout_seconds: Of that sandbox.
        env: Variables of every command.
        timeout_seconds: Of commands that name no timeout: when it is over they raise
            `WorkspaceTimeoutError`. At most the server's `PROVISIONER_MAX_TIMEOUT_SECONDS`.
        max_output_bytes: Of each output of a command; more is `WorkspaceOutputLimitError`. At most
            the server's `PROVISIONER_OUTPUT_LIMIT_BYTES`. Default: its
            `PROVISIONER_MAX_OUTPUT_BYTES`, which any number of commands may have at a time.

    Raises:
        ValueError: The ref is another provider's, or comes with a thread.
    """

    def __init__(
        self,
        sandboxes: Sandboxes | BlockingSandboxes,
        *,
        ref: WorkspaceRef | None = None,
        thread_id: str | None = None,
        scope: str | None = None,
        idle_timeout_seconds: int | None = None,
        env: Mapping[str, str] | None = None,
        timeout_seconds: float = LONGEST_COMMAND_SECONDS,
        max_output_bytes: int | None = None,
    ) -> None:
        loop = None
        if isinstance(sandboxes, BlockingSandboxes):
            loop, sandboxes = sandboxes.loop, sandboxes.wrapped
        self._home = Home(loop)
        self._environment = Environment(
            sandboxes,
            ref=ref,
            thread_id=thread_id,
            scope=scope,
            idle_timeout_seconds=idle_timeout_seconds,
        )
        self._tree = Tree(self._environment.execute)
        self._env = dict(env or {})
        self._timeout_seconds = timeout_seconds
        self._max_output_bytes = max_output_bytes

    @property
    def ref(self) -> WorkspaceRef | None:
        """The sandbox's name: `oneseek` and its `sandbox_id`. None until it is acquired."""
        return self._environment.ref

    async def working_dir(self) -> str:
        """The sandbox's workspace."""
        with workspace_errors():
            return await self._home.join(self._environment.working_dir())

    async def run(
        self,
        command: WorkspaceCommand,
        *,
        shell: bool = False,
        env: Mapping[str, str] | None = None,
        timeout: float | None = None,
    ) -> CommandResult:
        """Run a command to its end; the output is complete.

        Raises:
            TypeError: A text without `shell`, or a list with it.
            ValueError: The service refuses the command, its variables or its timeout.
            WorkspaceTimeoutError: It was ended at its timeout.
            WorkspaceOutputLimitError: It printed more than the service keeps.
            WorkspaceUnavailableError: The sandbox is gone.
        """
        if isinstance(command, str) != shell:
            raise TypeError("A text requires shell=True, and a list of arguments shell=False")
        seconds = seconds_of(timeout, self._timeout_seconds)
        with workspace_errors():
            ended = await self._home.join(
                self._environment.execute(
                    command,
                    env=self._env | dict(env or {}),
                    timeout_seconds=seconds,
                    max_output_bytes=self._max_output_bytes,
                    encoding="base64",
                )
            )
        return result_of(ended, seconds)

    async def read_bytes(self, path: str) -> bytes:
        """Return a file's content."""
        with workspace_errors(), file_errors(path):
            return await self._home.join(self._environment.download(path))

    async def write_bytes(self, path: str, data: bytes) -> None:
        """Write a file, whole and atomically; missing directories are made, links followed."""
        with workspace_errors(), file_errors(path):
            await self._home.join(self._environment.upload(path, data))

    async def stat(self, path: str) -> FileEntry:
        """Look at a file or directory."""
        with workspace_errors():
            name, is_dir, size = await self._home.join(self._tree.stat(path))
        return FileEntry(name=name, path=path, is_dir=is_dir, size=size)

    async def list_dir(self, path: str) -> Sequence[FileEntry]:
        """List a directory by name."""
        with workspace_errors():
            entries = await self._home.join(self._tree.list(path))
        return [_in(path, entry) for entry in entries]

    async def make_dir(self, path: str) -> None:
        """Make a directory and those above it."""
        with workspace_errors():
            await self._home.join(self._tree.make(path))

    async def remove(self, path: str) -> None:
        """Remove a file, a link, or a directory with all that is in it.

        Raises:
            ValueError: It is the working directory, or one above it.
        """
        with workspace_errors():
            keep = await self._home.join(self._environment.working_dir())
            await self._home.join(self._tree.remove(path, keep=keep))

    async def exists(self, path: str) -> bool:
        """Tell whether a file or directory is there."""
        with workspace_errors():
            return await self._home.join(self._tree.exists(path))

    async def realpath(self, path: str) -> str:
        """Follow all links, as `os.path.realpath` does."""
        with workspace_errors():
            return await self._home.join(self._tree.realpath(path))


def _in(directory: str, entry: Entry) -> FileEntry:
    name, is_dir, size = entry
    return FileEntry(name=name, path=posixpath.join(directory, name), is_dir=is_dir, size=size)


@dataclass
class OneSeekWorkspace(AbstractCapability[AgentDepsT]):
    """Gives each conversation of an agent a sandbox.

    A run that continues a message history continues in its sandbox, and raises
    `WorkspaceUnavailableError` when that is gone. For sandboxes that your own threads name, pass
    `workspace=OneSeekWorkspaceBackend(sandboxes, thread_id=…)` to the run instead.

    Example:
        agent = Agent(model, capabilities=[OneSeekWorkspace(sandboxes), Shell(), FileSystem()])
    """

    sandboxes: Sandboxes | BlockingSandboxes
    """Open ones; see `OneSeekWorkspaceBackend`."""

    _: KW_ONLY

    scope: str | None = None
    """Tenant or user of the sandboxes that are made."""

    idle_timeout_seconds: int | None = None
    """Of the sandboxes that are made."""

    env: Mapping[str, str] | None = field(default=None, repr=False)
    """Variables of every command."""

    timeout_seconds: float = LONGEST_COMMAND_SECONDS
    """Of commands that name no timeout."""

    max_output_bytes: int | None = None
    """Of each output of a command."""

    def get_workspace(
        self, ctx: RunContext[AgentDepsT], *, ref: WorkspaceRef | None
    ) -> WorkspaceBackend | None:
        """Return a backend for a ref of this provider, or a new sandbox; None for another's ref."""
        if ref is not None and ref.provider != PROVIDER:
            return None
        return OneSeekWorkspaceBackend(
            self.sandboxes,
            ref=ref,
            scope=None if ref else self.scope,
            idle_timeout_seconds=None if ref else self.idle_timeout_seconds,
            env=self.env,
            timeout_seconds=self.timeout_seconds,
            max_output_bytes=self.max_output_bytes,
        )
