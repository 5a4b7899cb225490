"""One thread's sandbox as a backend of deepagents. Needs the extra `deepagents`.

with BlockingSandboxes(connect(settings)) as sandboxes:
    backend = DeepAgentsSandbox(sandboxes.thread("thread-1"))
    agent = create_deep_agent(model=model, backend=backend)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from deepagents.backends.protocol import (
    DeleteResult,
    EditResult,
    ExecuteResponse,
    FileDownloadResponse,
    FileUploadResponse,
    GlobResult,
    GrepResult,
    LsResult,
    ReadResult,
    SandboxBackendProtocol,
    WriteResult,
)

from oneseek_sandbox.adapters.deepagents_operations import Conventions, Operations
from oneseek_sandbox.adapters.deepagents_places import Places
from oneseek_sandbox.adapters.home import HomeOfThread

if TYPE_CHECKING:
    from oneseek_sandbox.client.blocking import BlockingThreadSandbox
    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["DeepAgentsSandbox"]


class DeepAgentsSandbox(SandboxBackendProtocol):
    """The verbs as deepagents calls them, for agents that are invoked either way.

    Files are those below the workspace; paths beside it are `invalid_path`, unless the server and
    this say `file_scope="sandbox"`. What deepagents itself
    keeps at `/large_tool_results` and `/conversation_history` is in `.deepagents` there.

    Example:
        with BlockingSandboxes(connect(settings)) as sandboxes:
            backend = DeepAgentsSandbox(sandboxes.thread("thread-1"))
            agent = create_deep_agent(model=model, backend=backend)

    Args:
        thread: A `ThreadSandbox` for agents that are awaited, one of `BlockingSandboxes.thread` for
            both kinds.
        conventions: Of which deepagents; see `Conventions`.
        timeout_seconds: Of commands that name no limit, or 0.
        env: Variables of every command.
        workspace: The directory that files live in, as the server has it.
        file_scope: The server's PROVISIONER_FILE_SCOPE.
    """

    def __init__(
        self,
        thread: ThreadSandbox | BlockingThreadSandbox,
        *,
        conventions: Conventions = "0.7",
        timeout_seconds: float = 120,
        env: dict[str, str] | None = None,
        workspace: str = "/workspace",
        file_scope: Literal["workspace", "sandbox"] = "workspace",
    ) -> None:
        self._home = HomeOfThread(thread)
        self._operations = Operations(
            self._home.thread,
            conventions=conventions,
            timeout_seconds=timeout_seconds,
            env=env,
            places=Places(workspace, anywhere=file_scope == "sandbox"),
        )

    @property
    def id(self) -> str:
        """The thread's id: it stays when the sandbox is replaced."""
        return self._home.thread.thread_id

    # For agents that are invoked

    def execute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """Run a shell command; one that fails, or never ran, is a response, too."""
        return self._home.wait(self._operations.execute(command, timeout))

    def ls(self, path: str) -> LsResult:
        """List a directory."""
        return self._home.wait(self._operations.ls(path))

    def read(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """Read lines of a file; the first has offset 0."""
        return self._home.wait(self._operations.read(file_path, offset, limit))

    def write(self, file_path: str, content: str) -> WriteResult:
        """Write a file whole."""
        return self._home.wait(self._operations.write(file_path, content))

    def edit(
        self,
        file_path: str,
        old_string: str,
        new_string: str,
        replace_all: bool = False,
    ) -> EditResult:
        """Replace text that occurs once, or everywhere."""
        return self._home.wait(
            self._operations.edit(file_path, old_string, new_string, replace_all)
        )

    def delete(self, file_path: str) -> DeleteResult:
        """Delete a file, or a directory with all that is in it."""
        return self._home.wait(self._operations.delete(file_path))

    def grep(
        self,
        pattern: str,
        path: str | None = None,
        glob: str | None = None,
        *,
        max_count: int | None = None,
    ) -> GrepResult:
        """Find literal text in files."""
        return self._home.wait(self._operations.grep(pattern, path, glob, max_count))

    def glob(self, pattern: str, path: str | None = None) -> GlobResult:
        """Find files by their names."""
        return self._home.wait(self._operations.glob(pattern, path))

    def upload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """Write files from bytes, in order."""
        return self._home.wait(self._operations.upload(files))

    def download_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """Read files as bytes, in order."""
        return self._home.wait(self._operations.download(paths))

    # For agents that are awaited

    async def aexecute(self, command: str, *, timeout: int | None = None) -> ExecuteResponse:
        """As `execute`."""
        return await self._home.join(self._operations.execute(command, timeout))

    async def als(self, path: str) -> LsResult:
        """As `ls`."""
        return await self._home.join(self._operations.ls(path))

    async def aread(self, file_path: str, offset: int = 0, limit: int = 2000) -> ReadResult:
        """As `read`."""
        return await self._home.join(self._operations.read(file_path, offset, limit))

    async def awrite(self, file_path: str, content: str) -> WriteResult:
        """As `write`."""
        return await self._home.join(self._operations.write(file_path, content))

    async def aedit(
        self,
        file_path: str,
        old_string: str,
        new_string: str,
        replace_all: bool = False,
    ) -> EditResult:
        """As `edit`."""
        return await self._home.join(
            self._operations.edit(file_path, old_string, new_string, replace_all)
        )

    async def adelete(self, file_path: str) -> DeleteResult:
        """As `delete`."""
        return await self._home.join(self._operations.delete(file_path))

    async def agrep(
        self,
        pattern: str,
        path: str | None = None,
        glob: str | None = None,
        *,
        max_count: int | None = None,
    ) -> GrepResult:
        """As `grep`."""
        return await self._home.join(self._operations.grep(pattern, path, glob, max_count))

    async def aglob(self, pattern: str, path: str | None = None) -> GlobResult:
        """As `glob`."""
        return await self._home.join(self._operations.glob(pattern, path))

    async def aupload_files(self, files: list[tuple[str, bytes]]) -> list[FileUploadResponse]:
        """As `upload_files`."""
        return await self._home.join(self._operations.upload(files))

    async def adownload_files(self, paths: list[str]) -> list[FileDownloadResponse]:
        """As `download_files`."""
        return await self._home.join(self._operations.download(paths))
