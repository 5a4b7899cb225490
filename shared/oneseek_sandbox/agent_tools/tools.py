"""The tools over one thread's sandbox: a call by name, and text that a model can act on."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, cast

from oneseek_sandbox.agent_tools import arguments as a
from oneseek_sandbox.agent_tools import shaping
from oneseek_sandbox.agent_tools.advice import error_text
from oneseek_sandbox.agent_tools.commands import Commands
from oneseek_sandbox.agent_tools.definitions import WAIT, choose_tools
from oneseek_sandbox.agent_tools.images import LARGEST_IMAGE_BYTES, Image, image_type
from oneseek_sandbox.agent_tools.results import ToolError, ToolResult
from oneseek_sandbox.client.settings import BackendSettings
from oneseek_sandbox.errors import InvalidRequestError, SandboxError
from oneseek_sandbox.models import ReleaseAnswer
from oneseek_sandbox.models.checking import check, shown

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from pydantic import BaseModel

    from oneseek_sandbox.agent_tools.commands import OnLine
    from oneseek_sandbox.agent_tools.definitions import Tool
    from oneseek_sandbox.client.thread import ThreadSandbox
    from oneseek_sandbox.models import ReadFileAnswer

__all__ = ["SandboxTools"]


class SandboxTools:
    """The tools of one thread.

    A sandbox is made at the first call that needs one. Calls may run at the same time.

    Args:
        sandbox: Whose sandbox it is, once for all; no argument of a call changes it.
        settings: For the default time limit and the size of texts.
        raise_errors: Raise `ToolError` instead of returning an error's text.
        tools: Names of the tools to offer; a call of another is an error. All by default.
        images: Images that are read are in `ToolResult.image`, for models that can look at them.
        yield_seconds: After how long a command that still runs is answered as such, for hosts
            that end long calls; `sandbox_wait` goes on with it. None, like 0, waits to the end.
    """

    def __init__(
        self,
        sandbox: ThreadSandbox,
        settings: BackendSettings | None = None,
        *,
        raise_errors: bool = False,
        tools: Iterable[str] | None = None,
        images: bool = False,
        yield_seconds: float | None = None,
    ) -> None:
        self.sandbox = sandbox
        self._settings = settings or BackendSettings()
        self._raise_errors = raise_errors
        self._offered = choose_tools(tools, yielding=bool(yield_seconds))
        self._images = images
        self._commands = Commands(
            sandbox, self._settings, yield_seconds if WAIT in self._offered else None
        )
        self._calls: dict[str, Callable[[Any], Awaitable[ToolResult]]] = {
            "sandbox_ls": self._ls,
            "sandbox_read_file": self._read_file,
            "sandbox_write_file": self._write_file,
            "sandbox_replace": self._replace,
            "sandbox_release": self._release,
        }

    async def call(self, name: str, arguments: Mapping[str, Any] | str | None = None) -> str:
        """Call a tool and return the text for the model.

        Args:
            arguments: As the model gave them: an object, or its JSON text.

        Raises:
            ToolError: Only with `raise_errors`.
        """
        return (await self.run(name, arguments)).text

    async def run(
        self,
        name: str,
        arguments: Mapping[str, Any] | str | None = None,
        *,
        on_line: OnLine | None = None,
    ) -> ToolResult:
        """Call a tool and return all that is known of the result.

        Args:
            on_line: Awaited about once a second while a command is waited for, with the last
                line that it has printed, as it is: control characters, whatever its length.

        Raises:
            ToolError: Only with `raise_errors`.
        """
        try:
            result = await self._run(name, arguments, on_line)
        except SandboxError as error:
            result = ToolResult(error_text(error), is_error=True, error=error)
        if result.is_error and self._raise_errors:
            raise ToolError(result) from result.error
        return result

    async def close(self) -> None:
        """End the commands whose calls were not answered; those told as still running go on."""
        await self._commands.close()

    async def _run(
        self, name: str, arguments: Mapping[str, Any] | str | None, on_line: OnLine | None
    ) -> ToolResult:
        tool = self._offered.get(name)
        if tool is None:
            known = ", ".join(self._offered)
            text = f"Error (unknown_tool): There is no tool {shown(name)!r}. There are: {known}."
            return ToolResult(text, is_error=True)
        try:
            given = _checked(tool, arguments)
        except InvalidRequestError as error:
            text = f"Error (invalid_arguments): {error.message} Nothing was done. {_takes(tool)}"
            return ToolResult(text, is_error=True, error=error)
        if isinstance(given, a.ExecuteArguments):
            return await self._commands.execute(given, on_line)
        if isinstance(given, a.WaitArguments):
            return await self._commands.wait(given, on_line)
        return await self._calls[name](given)

    async def _ls(self, given: a.LsArguments) -> ToolResult:
        answer = await self.sandbox.ls(given.path, depth=given.depth, cursor=given.cursor)
        count = shaping.fitting_entries(answer, self._settings.sandbox_max_output_bytes)
        if count < len(answer.entries):
            # Again with less, for a cursor that goes on exactly where the text ends.
            answer = await self.sandbox.ls(
                given.path, depth=given.depth, cursor=given.cursor, limit=count
            )
        return ToolResult(shaping.directory(answer), answer=answer)

    async def _read_file(self, given: a.ReadFileArguments) -> ToolResult:
        most = self._settings.sandbox_max_output_bytes
        answer = await self.sandbox.read_file(
            given.path, start_line=given.start_line, end_line=given.end_line, limit=most
        )
        image = await self._image(answer) if self._images else None
        if image is not None:
            return ToolResult(shaping.image(answer, image.media_type), answer=answer, image=image)
        return ToolResult(shaping.read(answer, given, most), answer=answer)

    async def _image(self, answer: ReadFileAnswer) -> Image | None:
        """Return the image that was read, all of it; None if it is none, or too large to show."""
        if answer.encoding != "base64" or answer.size > LARGEST_IMAGE_BYTES:
            return None
        data = base64.b64decode(answer.content)
        if image_type(data) is not None and answer.truncated:
            async with self.sandbox.download(answer.path) as file:
                data = b"".join([piece async for piece in file.chunks])
        # Another file may be there by now.
        media_type = image_type(data)
        return Image(data, media_type) if media_type and len(data) <= LARGEST_IMAGE_BYTES else None

    async def _write_file(self, given: a.WriteFileArguments) -> ToolResult:
        answer = await self.sandbox.write_file(given.path, given.content, append=given.append)
        return ToolResult(shaping.written(answer, append=given.append), answer=answer)

    async def _replace(self, given: a.ReplaceArguments) -> ToolResult:
        answer = await self.sandbox.replace(
            given.path, given.old, given.new, replace_all=given.replace_all
        )
        return ToolResult(shaping.replaced(answer), answer=answer)

    async def _release(self, _: a.ReleaseArguments) -> ToolResult:
        released = await self.sandbox.release()
        answer = ReleaseAnswer(released=released, already_released=False)
        if released:
            return ToolResult("Released: its files and processes are gone.", answer=answer)
        return ToolResult("There was no sandbox; nothing was released.", answer=answer)


def _checked(tool: Tool, arguments: Mapping[str, Any] | str | None) -> BaseModel:
    """Read what a model gave for arguments; null stands for a field that was left out."""
    value: Any = arguments
    if isinstance(arguments, str):
        try:
            value = json.loads(arguments) if arguments.strip() else {}
        except (ValueError, RecursionError) as error:
            raise InvalidRequestError(f"The arguments are not JSON: {error}.") from None
    if value is None:
        value = {}
    if not isinstance(value, dict):
        raise InvalidRequestError("The arguments are not a JSON object.")
    fields = tool.arguments.model_fields
    given = {
        name: item
        for name, item in cast("dict[str, Any]", value).items()
        if item is not None or name not in fields or fields[name].is_required()
    }
    return check(tool.arguments, given)


def _takes(tool: Tool) -> str:
    fields = tool.arguments.model_fields
    needed = [name for name, info in fields.items() if info.is_required()]
    optional = [name for name, info in fields.items() if not info.is_required()]
    parts = [", ".join(needed)] if needed else []
    parts += [f"if wanted {', '.join(optional)}"] if optional else []
    return f"{tool.name} takes: {'; '.join(parts) or 'nothing'}."
