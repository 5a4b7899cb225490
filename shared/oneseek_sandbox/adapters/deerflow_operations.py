"""The operations of a DeerFlow sandbox, as coroutines over one thread's sandbox."""

from __future__ import annotations

import errno
from contextlib import contextmanager
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Final

from deerflow.sandbox.exceptions import SandboxRuntimeError
from deerflow.sandbox.search import IGNORE_PATTERNS, GrepMatch

from oneseek_sandbox import errors
from oneseek_sandbox.adapters.deerflow_paths import VirtualPaths
from oneseek_sandbox.adapters.os_errors import file_errors
from oneseek_sandbox.adapters.search import SearchRefused, SearchRequest, run_search

if TYPE_CHECKING:
    from collections.abc import Iterator

    from oneseek_sandbox.client.thread import ThreadSandbox

__all__ = ["Operations", "translated"]

_LARGEST_DOWNLOAD: Final = 100 * 1024 * 1024
_PAGE: Final = 10_000
_REASONS: Final[dict[str, tuple[type[OSError], int]]] = {
    "file_not_found": (FileNotFoundError, errno.ENOENT),
    "not_a_directory": (NotADirectoryError, errno.ENOTDIR),
    "permission_denied": (PermissionError, errno.EACCES),
    "unreadable": (PermissionError, errno.EACCES),
    "invalid_path": (PermissionError, errno.EACCES),
}


@contextmanager
def translated(path: str) -> Iterator[None]:
    """Turn errors into those that DeerFlow's tools know by their class, about `path`."""
    try:
        with file_errors(path):
            yield
    except errors.NotTextError as error:
        raise UnicodeDecodeError("utf-8", b"", 0, 0, error.message) from error
    except SearchRefused as refused:
        if refused.reason not in _REASONS:
            raise ValueError(refused.reason) from refused
        kind, number = _REASONS[refused.reason]
        raise kind(number, refused.reason, path) from refused
    except errors.SandboxError as error:
        raise SandboxRuntimeError(error.message) from error


class Operations:
    """What `DeerFlowSandbox` does."""

    def __init__(self, thread: ThreadSandbox, timeout_seconds: float) -> None:
        self._thread = thread
        self._timeout_seconds = timeout_seconds
        self._prepared = ""

    async def acquired(self) -> VirtualPaths:
        """Return the paths of the sandbox, which is there with the folders DeerFlow expects."""
        acquired = self._thread.acquired or await self._thread.acquire()
        paths = VirtualPaths(acquired.workspace)
        if self._prepared != acquired.sandbox_id:
            await self._thread.execute(["mkdir", "-p", *paths.folders])
            self._prepared = acquired.sandbox_id
        return paths

    async def execute(self, command: str, env: dict[str, str] | None, timeout: float | None) -> str:
        """Run a command, and return all there is to say of it."""
        limit = timeout or self._timeout_seconds
        paths = await self.acquired()
        ended = await self._thread.execute(
            paths.in_command(command), env=env, timeout_seconds=limit
        )
        output = ended.stdout
        if ended.stderr:
            output += f"\nStd Error:\n{ended.stderr}" if output else ended.stderr
        if ended.timed_out:
            output += f"\nThe command was ended after its limit of {limit:g} seconds."
        if ended.hint:
            output += f"\n{ended.hint}"
        if ended.exit_code != 0:
            output += f"\nExit Code: {ended.exit_code}"
        return output or "(no output)"

    async def download(self, path: str) -> bytes:
        """Return a file's bytes."""
        real = (await self.acquired()).real(path)
        async with self._thread.download(real) as file:
            if file.size > _LARGEST_DOWNLOAD:
                problem = f"the file has more than {_LARGEST_DOWNLOAD} bytes"
                raise OSError(errno.EFBIG, problem, path)
            return b"".join([chunk async for chunk in file.chunks])

    async def read_lines(self, path: str, start: int | None, end: int | None) -> str:
        """Return lines, without the end of the last."""
        real = (await self.acquired()).real(path)
        answer = await self._thread.read_file(
            real, start_line=start or 1, end_line=end, encoding="utf-8"
        )
        return answer.content.removesuffix("\n").removesuffix("\r")

    async def upload(self, path: str, content: bytes, *, append: bool) -> None:
        """Write a file, or add to it."""
        real = (await self.acquired()).real(path)
        await self._thread.upload(real, content, append=append)

    async def list_dir(self, path: str, max_depth: int) -> list[str]:
        """Return paths, sorted, without those that DeerFlow hides."""
        paths = await self.acquired()
        root = paths.real(path).rstrip("/")
        cursor: str | None = None
        found = []
        while True:
            answer = await self._thread.ls(root, depth=max_depth, limit=_PAGE, cursor=cursor)
            for entry in answer.entries:
                below = entry.path.removeprefix(root + "/").split("/")
                if not any(fnmatchcase(name, p) for name in below for p in IGNORE_PATTERNS):
                    end = "/" if entry.type == "directory" else ""
                    found.append(paths.virtual(entry.path) + end)
            cursor = answer.cursor
            if cursor is None:
                return sorted(found)

    async def glob(
        self, path: str, pattern: str, include_dirs: bool, max_results: int
    ) -> tuple[list[str], bool]:
        """Find names."""
        paths = await self.acquired()
        request = SearchRequest(
            "glob", "", glob=pattern, include_dirs=include_dirs, max_results=max_results
        )
        found = await run_search(self._thread, _placed(request, paths, path))
        return [paths.virtual(name) for name, _ in found.results], bool(found.cut)

    async def grep(self, path: str, request: SearchRequest) -> tuple[list[GrepMatch], bool]:
        """Find lines."""
        paths = await self.acquired()
        found = await run_search(self._thread, _placed(request, paths, path))
        matches = [GrepMatch(paths.virtual(name), *rest) for name, *rest in found.results]
        return matches, bool(found.cut)


def _placed(request: SearchRequest, paths: VirtualPaths, path: str) -> SearchRequest:
    return replace(
        request,
        path=paths.real(path),
        workspace=paths.workspace,
        dots=True,
        ignore=tuple(IGNORE_PATTERNS),
        ignore_files=True,
    )
