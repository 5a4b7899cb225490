"""The operations of a deepagents backend, as coroutines over one thread's sandbox.

What goes wrong is in the results, as deepagents wants it: a file operation never raises.
"""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING, Final, Literal

from deepagents.backends import protocol as p

from oneseek_sandbox import errors
from oneseek_sandbox.adapters.deepagents_editing import edited, has_crlf
from oneseek_sandbox.adapters.deepagents_places import KEPT
from oneseek_sandbox.adapters.deepagents_reading import PREVIEW_BYTES, binary, is_text, page
from oneseek_sandbox.adapters.search import SearchRefused, run_search

if TYPE_CHECKING:
    from oneseek_sandbox.adapters.deepagents_places import Places
    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["Conventions", "Operations"]

Conventions = Literal["0.7", "0.6"]
"""Of deepagents 0.7: `write` overwrites, `glob` gives absolute paths of files. Of 0.6, which the
published suite still asks for: `write` refuses a file that is there, `glob` gives relative paths,
of directories too."""

_LARGEST_EDITED: Final = 64 * 1024 * 1024  # what replace takes at most
_LARGEST_DOWNLOAD: Final = 100 * 1024 * 1024
_PAGE: Final = 10_000
_CODES: Final[dict[type[errors.SandboxError], str]] = {
    errors.WorkspaceFileNotFoundError: p.FILE_NOT_FOUND,
    errors.WorkspacePermissionError: p.PERMISSION_DENIED,
    errors.IsADirectoryInWorkspaceError: p.IS_DIRECTORY,
    errors.NotADirectoryInWorkspaceError: p.INVALID_PATH,
    errors.NotARegularFileError: p.INVALID_PATH,
    errors.PathOutsideWorkspaceError: p.INVALID_PATH,
    errors.InvalidRequestError: p.INVALID_PATH,
}


class Operations:
    """What `DeepAgentsSandbox` does, and says the meaning of its arguments."""

    def __init__(
        self,
        thread: ThreadSandbox,
        *,
        conventions: Conventions,
        timeout_seconds: float,
        env: dict[str, str] | None,
        places: Places,
    ) -> None:
        self._thread = thread
        self._is_old = conventions == "0.6"
        self._timeout_seconds = timeout_seconds
        self._env = env
        self._places = places

    async def execute(self, command: str, timeout: int | None) -> p.ExecuteResponse:
        """Run a command; stderr stands behind stdout."""
        try:
            ended = await self._thread.execute(
                command, timeout_seconds=timeout or self._timeout_seconds, env=self._env
            )
        except errors.SandboxError as error:
            return p.ExecuteResponse(output=f"Error: {error.message}", exit_code=None)
        parts = [ended.stdout, ended.stderr]
        if ended.timed_out:
            limit = timeout or self._timeout_seconds
            parts.append(
                f"[Ended after its limit of {limit:g} seconds; output until then is above]"
            )
        if ended.hint:
            parts.append(f"[{ended.hint}]")
        return p.ExecuteResponse(
            output=_joined(parts),
            exit_code=ended.exit_code,
            truncated=ended.stdout_truncated or ended.stderr_truncated,
        )

    async def ls(self, path: str) -> p.LsResult:
        """List a directory, all of it. Above the workspace there is the workspace."""
        if path == "/" and not self._places.anywhere:
            return p.LsResult(entries=[{"path": self._places.workspace, "is_dir": True}])
        entries: list[p.FileInfo] = []
        cursor: str | None = None
        try:
            while True:
                answer = await self._thread.ls(
                    self._places.inside(path), limit=_PAGE, cursor=cursor
                )
                entries += [
                    {
                        "path": entry.path,
                        "is_dir": entry.type == "directory",
                        "size": entry.size,
                        "modified_at": entry.modified_at.isoformat(),
                    }
                    for entry in answer.entries
                ]
                cursor = answer.cursor
                if not answer.truncated or cursor is None:
                    return p.LsResult(entries=entries)
        except errors.NotADirectoryInWorkspaceError as error:
            return p.LsResult(error=f"Path '{path}': {error.message}")
        except errors.SandboxError as error:
            return p.LsResult(error=f"Path '{path}': {_problem(error)}")

    async def read(self, file_path: str, offset: int, limit: int) -> p.ReadResult:
        """Read lines of a text file, or a whole binary one up to the size that a model is shown."""
        offset, wanted = max(int(offset), 0), max(int(limit), 0)
        try:
            path = self._places.inside(file_path)
            if is_text(path):
                # At least one line, so that a missing file is reported in any case.
                answer = await self._thread.read_file(
                    path, start_line=offset + 1, end_line=offset + max(wanted, 1)
                )
                if answer.encoding == "utf-8":
                    return page(file_path, answer, offset, wanted)
            async with self._thread.download(path, limit=PREVIEW_BYTES) as file:
                content = b"".join([chunk async for chunk in file.chunks])
                return binary(file_path, content, file.size)
        except errors.SandboxError as error:
            return p.ReadResult(error=f"File '{file_path}': {_problem(error)}")

    async def write(self, file_path: str, content: str) -> p.WriteResult:
        """Write a file, whole and atomically; missing directories are made."""
        try:
            data = content.encode()
            await self._thread.upload(
                self._places.inside(file_path), data, create_only=self._is_old
            )
        except UnicodeEncodeError:
            return p.WriteResult(error=f"Error: the content for '{file_path}' is not Unicode text")
        except errors.WorkspaceFileExistsError:
            return p.WriteResult(
                error=f"Error: File '{file_path}' already exists. Read it, and change it by edits."
            )
        except errors.SandboxError as error:
            return p.WriteResult(error=f"Error writing file '{file_path}': {_problem(error)}")
        return p.WriteResult(path=file_path)

    async def edit(
        self,
        file_path: str,
        old_string: str,
        new_string: str,
        replace_all: bool,
    ) -> p.EditResult:
        """Replace exact text. Reading shows CRLF as LF, and edits keep what a file has."""
        if not old_string:
            return p.EditResult(
                error="Error: old_string cannot be empty. Provide the exact text to replace."
            )
        try:
            done = await self._edited(
                self._places.inside(file_path), old_string, new_string, replace_all
            )
        except errors.WorkspaceFileNotFoundError:
            return p.EditResult(error=f"Error: File '{file_path}' not found")
        except errors.TextNotFoundError:
            return p.EditResult(error=f"Error: String not found in file: '{old_string}'")
        except errors.TextNotUniqueError:
            return p.EditResult(
                error=f"Error: String '{old_string}' appears multiple times. Use "
                "replace_all=True to replace all occurrences."
            )
        except errors.SandboxError as error:
            return p.EditResult(error=f"Error editing file '{file_path}': {_problem(error)}")
        return p.EditResult(path=file_path, occurrences=done)

    async def _edited(self, path: str, old: str, new: str, every: bool) -> int:
        """Edit, and look at line ends only where they matter: a file may have both kinds."""
        if "\n" in old or "\n" not in new:
            try:
                return (await self._thread.replace(path, old, new, replace_all=every)).replacements
            except errors.TextNotFoundError:
                if "\n" not in old:
                    raise
        async with self._thread.download(path, limit=_LARGEST_EDITED) as file:
            content = b"".join([chunk async for chunk in file.chunks])
            if file.truncated or not has_crlf(content):
                content = b""
        if not content:
            return (await self._thread.replace(path, old, new, replace_all=every)).replacements
        after, count = edited(content, old, new, every=every)
        before = hashlib.sha256(content).hexdigest()
        await self._thread.upload(path, after, if_sha256=before)
        return count

    async def delete(self, file_path: str) -> p.DeleteResult:
        """Delete a file, or a directory with all that is in it."""
        try:
            path = self._places.inside(file_path)
            await run_search(self._thread, self._places.search("delete", path))
        except SearchRefused as refused:
            if refused.reason == "file_not_found":
                return p.DeleteResult(error=f"Error: '{file_path}' not found")
            return p.DeleteResult(error=f"Error deleting file '{file_path}': {refused.reason}")
        except errors.SandboxError as error:
            return p.DeleteResult(error=f"Error deleting file '{file_path}': {_problem(error)}")
        return p.DeleteResult(path=file_path)

    async def grep(
        self, pattern: str, path: str | None, glob: str | None, max_count: int | None
    ) -> p.GrepResult:
        """Find literal text in text files."""
        try:
            root = self._places.root(path)
            request = self._places.search("grep", root, glob=glob or "", pattern=pattern)
            request = dataclasses.replace(request, ignore=(".git", KEPT))
            if max_count is not None:
                request = dataclasses.replace(request, max_results=max(max_count, 0))
            found = await run_search(self._thread, request)
        except SearchRefused as refused:
            return p.GrepResult(error=f"Path '{path}': {refused.reason}")
        except errors.SandboxError as error:
            return p.GrepResult(error=f"Path '{path}': {_problem(error)}")
        return p.GrepResult(
            matches=[
                {"path": where, "line": line, "text": text} for where, line, text in found.results
            ],
            truncated=bool(found.cut),
        )

    async def glob(self, pattern: str, path: str | None) -> p.GlobResult:
        """Find files by their names."""
        try:
            root = self._places.root(path)
            above = root.rstrip("/")
            below = pattern.removeprefix(above) if pattern.startswith(above + "/") else pattern
            request = self._places.search("glob", root, glob=below, ignore=(KEPT,))
            request = dataclasses.replace(request, include_dirs=self._is_old)
            found = await run_search(self._thread, request)
        except SearchRefused as refused:
            return p.GlobResult(error=f"Path '{path}': {refused.reason}")
        except errors.SandboxError as error:
            return p.GlobResult(error=f"Path '{path}': {_problem(error)}")
        result = p.GlobResult(
            matches=[
                {"path": name.removeprefix(above + "/") if self._is_old else name, "is_dir": is_dir}
                for name, is_dir in found.results
            ],
            truncated=bool(found.cut),
        )
        if hasattr(result, "truncation_reason"):  # newer than 0.7.6
            result.truncation_reason = found.cut or None
        return result

    async def upload(self, files: list[tuple[str, bytes]]) -> list[p.FileUploadResponse]:
        """Write files; each has a response of its own."""
        responses = []
        for path, content in files:
            response = p.FileUploadResponse(path=path)
            try:
                await self._thread.upload(self._places.inside(path), content)
            except errors.SandboxError as error:
                response.error = _problem(error)
            responses.append(response)
        return responses

    async def download(self, paths: list[str]) -> list[p.FileDownloadResponse]:
        """Read files whole, of 100 MiB at most; each has a response of its own."""
        responses = []
        for path in paths:
            response = p.FileDownloadResponse(path=path)
            try:
                async with self._thread.download(self._places.inside(path)) as file:
                    if file.size > _LARGEST_DOWNLOAD:
                        problem = f"it has {file.size} bytes, of {_LARGEST_DOWNLOAD} at most"
                        response.error = f"file too large: {problem}"
                    else:
                        response.content = b"".join([chunk async for chunk in file.chunks])
            except errors.SandboxError as error:
                response.error = _problem(error)
            responses.append(response)
        return responses


def _problem(error: errors.SandboxError) -> str:
    return _CODES.get(type(error), error.message)


def _joined(parts: list[str]) -> str:
    text = ""
    for part in parts:
        if part:
            text += "\n" if text and not text.endswith("\n") else ""
            text += part
    return text
