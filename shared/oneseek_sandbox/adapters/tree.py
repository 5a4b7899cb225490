"""What the verbs have no operation for: a program of ours does it with directories in the sandbox."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from oneseek_sandbox.adapters.inside import check_done, no_answer, program

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from oneseek_sandbox.models import ExecuteAnswer

__all__ = ["Entry", "Execute", "Tree"]

Entry = tuple[str, bool, int | None]
"""Name, whether it is a directory (links are followed), and a regular file's size in bytes."""

_COMMAND: Final = program("tree")
_Operation = Literal["stat", "list", "make", "remove", "exists", "realpath"]
_SECONDS: Final = 120.0
_PAGE_BYTES: Final = 400_000


class Execute(Protocol):
    """`Sandboxes.execute` of one sandbox."""

    def __call__(
        self, command: Sequence[str], *, stdin: str, timeout_seconds: float
    ) -> Awaitable[ExecuteAnswer]:
        """Run it."""


class Tree:
    """The directories of one sandbox, with the rights of its commands.

    Names are text in which bytes that are not UTF-8 are surrogates, as `os.fsdecode` has them. Each
    call raises `OSError` of the class that fits, and `SandboxError` as any call of the sandbox.
    """

    def __init__(self, execute: Execute) -> None:
        self._execute = execute

    async def stat(self, path: str) -> Entry:
        """Look at a file or directory; links are followed."""
        return _entry(await self._done("stat", path))

    async def list(self, path: str) -> list[Entry]:
        """List a directory, all of it, by name."""
        entries: list[Entry] = []
        while True:
            after = entries[-1][0] if entries else ""
            page = await self._done("list", path, after=after, bytes=_PAGE_BYTES)
            if not isinstance(page, dict) or not isinstance(page.get("entries"), list):
                raise no_answer("list")
            entries += map(_entry, page["entries"])
            if not (page.get("more") and page["entries"]):
                return entries

    async def make(self, path: str) -> None:
        """Make a directory and those above it; one that is there is no error."""
        await self._done("make", path)

    async def remove(self, path: str, *, keep: str) -> None:
        """Remove a file, a link itself, or a directory with all that is in it.

        Raises:
            ValueError: It is the directory `keep`, or one above it.
        """
        if await self._done("remove", path, keep=keep) is not True:
            raise ValueError(f"{path!r} is the working directory or above it, and stays")

    async def exists(self, path: str) -> bool:
        """Tell whether a file or directory is there; a link to nothing is not."""
        return await self._done("exists", path) is True

    async def realpath(self, path: str) -> str:
        """Follow all links, as `os.path.realpath` does; names that are missing stay as they are."""
        real = await self._done("realpath", path)
        if not isinstance(real, str):
            raise no_answer("realpath")
        return real

    async def _done(self, do: _Operation, path: str, **more: object) -> Any:  # noqa: ANN401
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"A path must be absolute and have no NUL: {path!r}")
        ended = await self._execute(
            _COMMAND,
            stdin=json.dumps({"do": do, "path": path, **more}),
            timeout_seconds=_SECONDS,
        )
        check_done(ended, do, if_killed=" before it was done")
        return _value(ended.stdout, do, path)


def _value(printed: str, do: str, path: str) -> Any:  # noqa: ANN401
    """Read an answer.

    Raises:
        OSError: It says so.
    """
    try:
        answer = json.loads(printed)
        number, problem = answer["errno"], str(answer["problem"])
        value = answer["value"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise no_answer(do) from None
    if number is not None:
        if type(number) is not int:
            raise no_answer(do)
        raise OSError(number, problem, path)
    return value


def _entry(row: object) -> Entry:
    match row:
        case [str(name), bool(is_dir), int() | None as size] if not isinstance(size, bool):
            return name, is_dir, size
    raise no_answer("look at a file")
